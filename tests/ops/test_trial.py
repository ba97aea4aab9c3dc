"""A source is tried in a cell of its own: whatever it does, the one who asks gets an answer, and nothing is kept."""

from __future__ import annotations

import importlib
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from farm import trial
from farm.core.job import Outcome
from farm.errors import FarmError
from farm.settings import Settings, SourceSettings, load
from tests.support.farms import Farm, local_files, misbehaving


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """No trial leaves its folder behind."""
    place = tmp_path / "trials"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    yield
    assert list(place.glob("farm-trial-*")) == []


def settled(tmp_path: Path, table: dict[str, Any]) -> tuple[Settings, SourceSettings]:
    settings = load(Farm(tmp_path / "home", {"tried": table}).config)
    return settings, settings.sources["tried"]


def checked(way: str) -> dict[str, Any]:
    return {"connector": "tests.ops.feed:Checked", "options": {"way": way}}


# -- check


@pytest.mark.parametrize(
    ("way", "answer"),
    [
        ("", None),
        ("answers", "tried is closed on Sundays"),
        ("raises", "there is no secret 'password'; set it with `farm secrets set password`"),
        ("dies", "the worker was killed by signal 6 (SIGABRT)"),
    ],
)
def test_a_check_says_what_is_wrong_in_a_sentence(way: str, answer: str | None, tmp_path: Path) -> None:
    assert trial.check(*settled(tmp_path, checked(way))) == answer


def test_a_check_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("farm.trial.check"), "TIMEOUT_S", 0.5)
    began = time.monotonic()
    assert trial.check(*settled(tmp_path, checked("hangs"))) == "no answer within 500 ms"
    assert time.monotonic() - began < 10


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    wrong = trial.check(*settled(tmp_path, local_files(tmp_path / "nowhere")))
    assert wrong is not None
    assert str(tmp_path / "nowhere") in wrong


# -- preview


def test_a_preview_shows_what_would_land_and_lands_nothing(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "a.md").write_text("# Alder\n\n" + "wood " * 1000)
    (notes / "b.pdf").write_text("%PDF-1.4 nothing of the kind")
    (notes / "c.md").write_text("# Cedar\n")
    settings, source = settled(tmp_path, local_files(notes))
    home = tmp_path / "home"
    before = sorted(home.rglob("*"))
    rows = trial.preview(home, settings, source, count=10)
    assert [(row["kind"], row["key"]) for row in rows] == [
        ("document", "a.md"),
        ("refused", "b.pdf"),
        ("document", "c.md"),
    ]
    assert rows[0]["title"] == "Alder"
    assert len(rows[0]["text"]) == 2000 < rows[0]["bytes"]
    assert rows[1]["outcome"] == Outcome.INVALID_INPUT
    assert len(trial.preview(home, settings, source, count=1)) == 1
    assert sorted(home.rglob("*")) == before
    json.dumps(rows)


def test_a_stream_without_end_is_previewed_as_far_as_asked(tmp_path: Path) -> None:
    table = {"connector": "tests.ops.feed:Stream", "options": {"units": 0}}
    settings, source = settled(tmp_path, table)
    rows = trial.preview(tmp_path, settings, source, count=3)
    assert [row["kind"] for row in rows] == ["record", "record", "rejected"]
    assert rows[0]["record"] == {"day": 0, "price": 4.5}


@pytest.mark.parametrize(("connector", "says"), [("Hang", "ran longer than its"), ("Crash", "SIGSEGV")])
def test_a_unit_that_ends_its_worker_is_shown_and_the_others_read(
    connector: str, says: str, tmp_path: Path
) -> None:
    table = misbehaving(connector, "good1", "bad", "good2", profile={"timeout": "500ms"})
    settings, source = settled(tmp_path, table)
    rows = {row["key"]: row for row in trial.preview(tmp_path, settings, source)}
    assert says in rows["bad"]["message"]
    assert rows["good1"]["kind"] == rows["good2"]["kind"] == "document"


def test_a_source_that_cannot_be_listed_is_one_sentence(tmp_path: Path) -> None:
    settings, source = settled(tmp_path, local_files(tmp_path / "nowhere"))
    for attempt in (
        lambda: trial.preview(tmp_path, settings, source),
        lambda: trial.measure(settings, source),
    ):
        with pytest.raises(FarmError, match="nowhere"):
            attempt()


# -- measure


def test_a_measurement_proposes_what_the_jobs_need_and_says_why(tmp_path: Path) -> None:
    units = [f"unit{n}" for n in range(200)]
    settings, source = settled(tmp_path, misbehaving("Sleeps", *units, options={"sleep_s": 0.05}))
    found = trial.measure(settings, source, samples=8)
    assert found["units"] == 200
    assert found["measured"]["extract"]["jobs"] == 8
    assert 0.05 <= found["measured"]["extract"]["wall_s"]["median"] < 1
    assert found["cpu"] <= 1.0
    assert found["batch"] in range(1, 6)
    assert found["timeout"] == "30s"
    assert found["memory"].endswith("MB")
    assert set(found["explanation"]) == {"cpu", "memory", "timeout", "stall", "batch"}


def test_more_memory_is_proposed_for_jobs_that_take_more(tmp_path: Path) -> None:
    size = 150_000_000
    table = misbehaving("Leak", "bad", options={"size": size}, profile={"memory": "1GB"})
    found = trial.measure(*settled(tmp_path, table))
    assert found["measured"]["extract"]["memory_peak_bytes"]["max"] > size
    assert int(found["memory"].removesuffix("MB")) * 1_000_000 > 1.5 * size


def test_jobs_that_reach_their_limit_leave_the_declared_limits(tmp_path: Path) -> None:
    table = misbehaving("Hang", "good", "bad", profile={"timeout": "300ms"})
    found = trial.measure(*settled(tmp_path, table))
    assert "timeout" not in found
    assert "batch" not in found
    assert "1 job reached the time limit" in found["explanation"]["timeout"]
    assert found["outcomes"] == {"succeeded": 2, "timed_out": 1}


def test_a_measured_profile_goes_into_the_settings_and_can_be_reset(tmp_path: Path) -> None:
    with Farm(tmp_path / "home", {"tried": misbehaving("Noop", *"abcdefgh", profile={"cpu": 0.7})}) as farm:
        found = farm.json("profile", "measure", "tried")
        assert load(farm.config).sources["tried"].profile.batch == found["batch"]
        farm.start()
        farm.call("run", source="tried")
        farm.until_jobs(succeeded=9)
        farm.stop()
        assert [row["stage"] for row in farm.json("profile", "show", "tried")["measured"]] == [
            "discover",
            "extract",
        ]
        assert farm.cli("profile", "reset", "tried").returncode == 0
        assert farm.json("profile", "show", "tried")["measured"] == []
