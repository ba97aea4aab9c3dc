"""What a killed process leaves on the disk is gone with the next one's start."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from farm import fleeting
from farm.home import FOLDERS
from tests.support.farms import Farm, misbehaving
from tests.support.wait import until


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where temporary files go."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


def test_a_killed_farm_leaves_nothing_among_temporary_files_and_the_next_clears_its_own(
    tmp_path: Path, place: Path
) -> None:
    """Neither the farm, nor a worker and a listener that litter where they can."""
    pids = tmp_path / "pids"
    table = misbehaving("Litters", "bad", watch=True, options={"pids": str(pids)})
    with Farm(tmp_path / "home", {"notes": table}) as farm:
        farm.environment["TMPDIR"] = str(place)
        for kept in (1, 2):
            farm.start()
            farm.call("run", source="notes")
            until(lambda n=2 * kept: pids.exists() and len(pids.read_text().split()) >= n, 30)
            farm.kill()
            until(lambda: not farm.processes(), 5)
            assert list(place.iterdir()) == []
        farm.configure({})
        farm.start()
        assert farm.stop() == 0
        left = {name: list((farm.home / name).iterdir()) for name in (*FOLDERS, "nursery")}
        assert {name for name, files in left.items() if files} == {"logs"}, left


@pytest.mark.parametrize("next_one", ["farm", "trial"])
def test_what_a_killed_trial_leaves_is_gone_with_the_next(tmp_path: Path, place: Path, next_one: str) -> None:
    pids = tmp_path / "pids"
    table = misbehaving("Litters", "bad", options={"pids": str(pids)})
    with Farm(tmp_path / "home", {"notes": table}) as farm:
        farm.environment["TMPDIR"] = str(place)
        trial = subprocess.Popen(
            farm._command("profile", "measure", "notes"), env=farm.environment, stdout=subprocess.DEVNULL
        )
        until(pids.exists, 30, what="a trial under way")
        (left,) = place.iterdir()
        os.utime(left, (0, 0))
        farm.json("sources", "check")
        assert list(place.iterdir()) == [left], "whose process lives stays"
        trial.send_signal(signal.SIGKILL)
        trial.wait()
        until(lambda: not is_held(left), 5)
        if next_one == "farm":
            farm.start()
            assert farm.stop() == 0
        else:
            farm.json("sources", "check")
        assert list(place.iterdir()) == []


def is_held(folder: Path) -> bool:
    """Whether somebody holds it."""
    return str(folder.stat().st_ino) in Path("/proc/locks").read_text()


def test_what_is_young_or_of_another_kind_stays(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(place))
    for name in ("farm-trial-young", "farm-trial-old", "farm-else"):
        (place / name).mkdir()
    for name in ("farm-trial-old", "farm-else"):
        os.utime(place / name, (0, 0))
    fleeting.sweep()
    assert sorted(path.name for path in place.iterdir()) == ["farm-else", "farm-trial-young"]
