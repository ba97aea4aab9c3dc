"""A watched folder: what is saved is searchable soon, bursts lose nothing, refusals are said."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import pytest

from tests.support.farms import Farm, local_files
from tests.support.wait import until

LIVING = "SELECT 1 FROM document WHERE key = ? AND deleted_at IS NULL"


def watched(folder: Path) -> dict[str, object]:
    return local_files(folder, watch=True)


def test_a_saved_file_is_searchable_within_two_seconds(tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    with Farm(tmp_path / "home", {"notes": watched(folder)}) as farm:
        farm.start()
        until(lambda: farm.jobs().get("succeeded"), 20)
        took = []
        for i in range(20):
            began = time.monotonic()
            (folder / f"saved{i}.txt").write_text(f"words that were saved as number{i}")
            until(lambda i=i: farm.store(LIVING, f"saved{i}.txt"), 10)  # type: ignore[misc]
            took.append(time.monotonic() - began)
        assert statistics.quantiles(took, n=20)[-1] < 2.0, took
        assert farm.json("search", "number19")


def test_a_burst_of_a_thousand_files_loses_none(tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    with Farm(tmp_path / "home", {"notes": watched(folder)}) as farm:
        farm.start()
        until(lambda: farm.jobs().get("succeeded"), 20)
        for i in range(1000):
            place = folder / f"folder{i % 10}"
            place.mkdir(exist_ok=True)
            (place / f"burst{i}.txt").write_text(f"burst {i}")
        until(
            lambda: farm.store("SELECT count(*) FROM document WHERE deleted_at IS NULL")[0][0] == 1000,
            60,
            every_s=0.2,
            what=f"1000 documents\n{farm.said()}",
        )


def test_a_deleted_and_a_renamed_file_are_followed(tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "old.txt").write_text("to be renamed")
    (folder / "gone.txt").write_text("to be deleted")
    with Farm(tmp_path / "home", {"notes": watched(folder)}) as farm:
        farm.start()
        keys = "SELECT key FROM document WHERE deleted_at IS NULL ORDER BY key"
        until(lambda: farm.store(keys) == [("gone.txt",), ("old.txt",)], 20)
        extracts = "SELECT count(*) FROM job WHERE stage = 'extract'"
        assert farm.ledger(extracts) == [(2,)]
        (folder / "old.txt").rename(folder / "new.txt")
        (folder / "gone.txt").unlink()
        until(lambda: farm.store(keys) == [("new.txt",)], 10)
        assert farm.ledger(extracts) == [(2,)]


def test_a_folder_that_cannot_be_watched_is_said_and_told_when_it_is_well_again(tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "one.txt").write_text("one")
    with Farm(tmp_path / "home", {"notes": watched(folder)}) as farm:
        farm.start()
        until(lambda: farm.store("SELECT 1 FROM document"), 20)
        folder.rename(tmp_path / "elsewhere")
        said = until(lambda: farm.json("sources", "list")[0].get("degraded"), 10)
        assert str(folder) in said
        (tmp_path / "elsewhere").rename(folder)
        until(lambda: not farm.json("sources", "list")[0].get("degraded"), 10)
        assert farm.store("SELECT count(*) FROM document WHERE deleted_at IS NULL") == [(1,)]


@pytest.mark.parametrize("connector", ["local_files", "obsidian"])
def test_a_farm_does_not_read_its_own_state_folder(tmp_path: Path, connector: str) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    source = {"connector": connector, "watch": True, "options": {"path": str(folder)}}
    with Farm(folder / "deep" / "state", {"notes": source}) as farm:
        farm.output = tmp_path / "farm.out"  # which is the test's, and would lie beside the state folder
        farm.start()
        until(lambda: farm.jobs().get("succeeded"), 20)
        for i in range(4):  # each has the farm write its log, its ledger and its store
            (folder / "deep" / f"saved{i}.md").write_text(f"words that were saved as number{i}")
            until(lambda i=i: farm.store(LIVING, f"deep/saved{i}.md"), 20)  # type: ignore[misc]
        farm.look()
        saved = {(f"deep/saved{i}.md",) for i in range(4)}
        assert set(farm.ledger("SELECT DISTINCT key FROM job WHERE stage = 'extract'")) == saved
        assert set(farm.store("SELECT key FROM document")) == saved
        ((runs,),) = farm.ledger("SELECT count(*) FROM run WHERE trigger = 'watch'")
        assert runs <= 2 * len(saved)
