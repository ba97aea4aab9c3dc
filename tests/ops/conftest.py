"""A state folder with a bit of everything in it, and copies of it to plant faults into."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.desk import offline
from farm.doctor import content, processes
from tests.support.farms import Farm, local_files, misbehaving


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Jobs that succeeded, wait, wait for a time, are quarantined, cancelled; documents; no farm on it."""
    base = tmp_path_factory.mktemp("original")
    notes = base / "notes"
    notes.mkdir()
    for name in ("alder", "birch", "cedar"):
        (notes / f"{name}.md").write_text(f"# {name}\n\nThe wood of the {name} tree.\n")
    sources = {
        "notes": local_files(notes),
        "broken": misbehaving("Raises", "bad", options={"way": "permanent"}),
        "later": misbehaving("Raises", "bad", retry={"base": "1h", "max": "2h"}),
        "waiting": misbehaving("Noop"),
    }
    with Farm(base / "home", sources) as farm:
        farm.start()
        for name in ("notes", "broken", "later"):
            farm.call("run", source=name)
        farm.until_jobs(succeeded=6, quarantined=1, retrying=1)
        assert farm.stop() == 0
        with offline(farm.home, farm.config) as desk:
            desk.handle("submit", {"source": "waiting", "jobs": [{"key": "one"}, {"key": "two"}]}, "test")
            (cancelled,) = farm.ledger("SELECT max(id) FROM job")[0]
            desk.handle("cancel_jobs", {"ids": [cancelled]}, "test")
        yield farm.home


@pytest.fixture
def home(original: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    copy = tmp_path / "home"
    shutil.copytree(original, copy, ignore=shutil.ignore_patterns("farm.lock", "farm.sock"))
    return copy


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was planted does not go by: no need to wait for that."""
    monkeypatch.setattr(content, "SPOOL_PATIENCE_S", 0.3)
    monkeypatch.setattr(processes, "PATIENCE_S", 0.3)


@pytest.fixture
def patient(impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as the doctor really waits."""
    monkeypatch.undo()
