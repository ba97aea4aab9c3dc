"""A folder through the whole farm: what is there lands, and what changes costs no more than it must."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.farms import Farm, local_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    (folder / "deep").mkdir(parents=True)
    (folder / "one.txt").write_text("the quick brown fox")
    (folder / "two.md").write_text("# Heading\n\nA lazy dog sleeps.\n")
    (folder / "deep" / "three.txt").write_text("jumps over")
    return folder


def keys(farm: Farm) -> list[str]:
    return [key for (key,) in farm.store("SELECT key FROM document WHERE deleted_at IS NULL ORDER BY key")]


def extracts(farm: Farm) -> int:
    return int(
        farm.ledger("SELECT count(*) FROM attempt JOIN job ON job.id = job_id WHERE stage = 'extract'")[0][0]
    )


def last_documents(farm: Farm) -> dict[str, int]:
    documents: dict[str, int] = farm.json("runs")[0]["documents"]
    return {name: n for name, n in documents.items() if n}


def test_a_second_run_extracts_nothing(tmp_path: Path, folder: Path) -> None:
    with Farm(tmp_path / "home", {"notes": local_files(folder)}) as farm:
        assert farm.drain() == 0
        assert keys(farm) == ["deep/three.txt", "one.txt", "two.md"]
        assert extracts(farm) == 3
        assert farm.drain() == 0
        assert extracts(farm) == 3
        assert last_documents(farm) == {"unchanged": 3}


def test_a_change_costs_one_job_a_deletion_a_tombstone_and_a_move_nothing(
    tmp_path: Path, folder: Path
) -> None:
    with Farm(tmp_path / "home", {"notes": local_files(folder)}) as farm:
        assert farm.drain() == 0
        (folder / "one.txt").write_text("the quick red fox")
        (folder / "two.md").unlink()
        (folder / "deep").rename(folder / "deeper")
        assert farm.drain() == 0
        assert extracts(farm) == 4
        assert keys(farm) == ["deeper/three.txt", "one.txt"]
        assert farm.store("SELECT key FROM document WHERE deleted_at IS NOT NULL AND key = 'two.md'")
        assert [hit["uri"].rpartition("/")[2] for hit in farm.json("search", "red fox")] == ["one.txt"]
        assert farm.json("search", "lazy dog") == []
        assert farm.json("search", '"jumps over"')[0]["uri"].endswith("/deeper/three.txt")


def test_a_touched_file_is_compared_by_content_and_not_extracted_again(tmp_path: Path, folder: Path) -> None:
    with Farm(tmp_path / "home", {"notes": local_files(folder)}) as farm:
        assert farm.drain() == 0
        before = farm.store("SELECT landed_at FROM document WHERE key = 'one.txt'")
        os.utime(folder / "one.txt", (1, 1))
        assert farm.drain() == 0
        assert last_documents(farm) == {"unchanged": 3}
        assert farm.store("SELECT landed_at FROM document WHERE key = 'one.txt'") == before
        attempts = extracts(farm)
        assert farm.drain() == 0
        assert extracts(farm) == attempts


def test_a_refused_file_is_explained_and_not_tried_again_until_it_changes(
    tmp_path: Path, folder: Path
) -> None:
    (folder / "empty.txt").touch()
    with Farm(tmp_path / "home", {"notes": local_files(folder)}) as farm:
        assert farm.drain() == 3
        (refused,) = farm.json("quarantine", "list")
        assert refused["key"] == "empty.txt"
        assert refused["reason"] == "parse_error"
        assert "empty" in refused["message"]
        attempts = extracts(farm)
        assert farm.drain() == 3
        assert extracts(farm) == attempts
        (folder / "empty.txt").write_text("no more")
        assert farm.drain() == 0
        assert farm.json("quarantine", "list") == []


def test_a_refused_file_that_goes_away_leaves_the_quarantine(tmp_path: Path, folder: Path) -> None:
    (folder / "empty.txt").touch()
    with Farm(tmp_path / "home", {"notes": local_files(folder)}) as farm:
        assert farm.drain() == 3
        (folder / "empty.txt").unlink()
        assert farm.drain() == 0
        assert "gone" in farm.ledger("SELECT cause FROM transition WHERE event = 'supersede'")[0][0]


def test_a_discarded_file_is_left_alone(tmp_path: Path, folder: Path) -> None:
    (folder / "empty.txt").touch()
    with Farm(tmp_path / "home", {"notes": local_files(folder)}) as farm:
        assert farm.drain() == 3
        (refused,) = farm.json("quarantine", "list")
        assert farm.cli("quarantine", "discard", str(refused["job_id"])).returncode == 0
        attempts = extracts(farm)
        assert farm.drain() == 0
        assert extracts(farm) == attempts


def test_a_missing_folder_keeps_what_was_read(tmp_path: Path, folder: Path) -> None:
    retry = {"max_attempts": 2, "base": "100ms", "max": "100ms"}
    with Farm(tmp_path / "home", {"notes": local_files(folder, retry=retry)}) as farm:
        assert farm.drain() == 0
        folder.rename(tmp_path / "elsewhere")
        assert farm.drain() == 3
        assert len(keys(farm)) == 3
        (run,) = farm.json("runs")[:1]
        assert run["state"] == "failed"
        (tmp_path / "elsewhere").rename(folder)
        assert farm.drain() == 0
        assert len(keys(farm)) == 3
        assert extracts(farm) == 3
