"""Hard times: a full disk, no descriptors, no processes. The farm says so, loses nothing, and goes on by itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from farm.reserve import RESERVE_BYTES, Reserve
from tests.resilience import limits
from tests.support.farms import ROOT

GIB = 1024**3


def on_a_small_disk(scenario: str, seed: int = 0) -> dict[str, Any]:
    """What the scenario saw; replay it by `unshare --mount python -m tests.resilience.small_disk …`."""
    mount = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    done = subprocess.run(
        [*mount, sys.executable, "-m", "tests.resilience.small_disk", scenario, str(seed)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, f"{scenario} {seed}\n{done.stdout}\n{done.stderr}"
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_on_a_full_disk_the_farm_finishes_holds_says_so_and_goes_on_by_itself() -> None:
    found = on_a_small_disk("pressed")
    assert found["refused"] >= 1


def test_nothing_is_acknowledged_that_could_not_be_written_and_the_farm_outlives_it() -> None:
    found = on_a_small_disk("overwhelmed")
    assert found["refused"] > 3
    assert found["acknowledged"] >= 30


def test_a_farm_that_is_killed_while_the_disk_is_full_starts_again_when_there_is_room() -> None:
    on_a_small_disk("killed")


def test_a_farm_can_be_stopped_while_the_disk_is_full() -> None:
    found = on_a_small_disk("stopped")
    assert found["code"] in (0, 1)


# -- the reserve itself


def test_the_reserve_holds_room_until_it_is_given_up(tmp_path: Path) -> None:
    free = GIB
    reserve = Reserve(tmp_path, lambda _: free)
    assert reserve.fill()
    assert reserve.held == reserve.bytes == RESERVE_BYTES
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= RESERVE_BYTES, "it must be laid in, not promised"
    reserve.release()
    assert reserve.held == 0
    reserve.release()


def test_the_reserve_of_a_small_disk_is_small(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path, lambda _: 4_000_000)
    assert reserve.bytes == 500_000


def test_the_disk_is_short_long_before_it_is_ample_again(tmp_path: Path) -> None:
    """So the farm does not go to and fro: giving up the reserve alone is no relief."""
    room = {"free": GIB}
    reserve = Reserve(tmp_path, lambda _: room["free"])
    assert not reserve.short()
    room["free"] = reserve.bytes // 2 - 1
    assert reserve.short()
    room["free"] += reserve.bytes  # released
    assert not reserve.ample()
    room["free"] = 2 * reserve.bytes
    assert reserve.ample()


def test_a_reserve_that_finds_no_room_takes_none(tmp_path: Path) -> None:
    """A file size limit stands for a full disk."""
    program = (
        "import resource, sys; from pathlib import Path; from farm.reserve import Reserve\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "reserve = Reserve(Path(sys.argv[1])); print(reserve.fill(), reserve.held)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "0"]


# -- limits of the process


def test_a_file_that_may_not_grow_ends_the_farm_with_a_sentence_and_loses_nothing(tmp_path: Path) -> None:
    assert "I/O error" in limits.file_size(tmp_path)["said"]


def test_without_descriptors_the_farm_waits_and_blames_no_job(tmp_path: Path) -> None:
    limits.descriptors(tmp_path)


def test_without_memory_the_farm_ends_with_a_sentence_and_loses_nothing(tmp_path: Path) -> None:
    assert limits.memory(tmp_path)["acknowledged"] >= 20


def test_without_processes_the_farm_waits_and_blames_no_job(tmp_path: Path) -> None:
    if not limits.can_limit_processes():
        pytest.skip("no cgroup whose pids.max could be set, and the limit of the user does not bind root")
    limits.processes(tmp_path)
