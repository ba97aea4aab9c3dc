"""The whole way: a real vault through a real farm."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.connectors_obsidian.conftest import NOTES, write
from tests.support.farms import Farm


def vault_source(root: Path, **table: Any) -> dict[str, Any]:
    return {"connector": "obsidian", "options": {"path": str(root)}, **table}


@pytest.fixture
def farm(tmp_path: Path, vault: Path) -> Farm:
    return Farm(tmp_path / "home", {"vault": vault_source(vault)})


def documents(farm: Farm) -> set[str]:
    return {row[0] for row in farm.store("SELECT key FROM document WHERE deleted_at IS NULL")}


def records(farm: Farm, stream: str) -> list[dict[str, Any]]:
    rows = farm.store("SELECT data FROM record WHERE stream = ? AND deleted_at IS NULL ORDER BY key", stream)
    return [json.loads(row[0]) for row in rows]


def edges(farm: Farm) -> set[tuple[str, str, str | None]]:
    return {(row["from"], row["target"], row["to"]) for row in records(farm, "links")}


def counts(farm: Farm) -> dict[str, int]:
    found: dict[str, int] = farm.json("runs")[0]["documents"]
    return found


def test_a_vault_lands_with_its_links_backlinks_and_tags(farm: Farm) -> None:
    with farm:
        farm.look()
        assert documents(farm) == {*NOTES, "Board.canvas", "Notes.base", "Attached.csv"}
        home = {edge[1:] for edge in edges(farm) if edge[0] == "Home.md"}
        assert home == {
            ("Projects/Farm", "Projects/Farm.md"),
            ("Farm", "Projects/Farm.md"),
            ("farm", "Projects/Farm.md"),
            ("Not There Yet", None),
            ("Diagram.png", "Diagram.png"),
            ("Projects/Farm.md", "Projects/Farm.md"),
            ("Старт сада", "Projects/Garden.md"),
            ("日本語 ノート", "日本語 ノート.md"),
            ("Garden", "Projects/Garden.md"),
        }
        back = {row["from"]: row["count"] for row in records(farm, "backlinks") if row["note"] == "Home.md"}
        assert back == {
            "Projects/Farm.md": 1,
            "Projects/Garden.md": 1,
            "日本語 ノート.md": 1,
            "Board.canvas": 1,
        }
        tags = {(row["note"], row["tag"]) for row in records(farm, "tags")}
        assert tags == {
            ("Home.md", "garden"),
            ("Home.md", "area/home"),
            ("Home.md", "garden/seeds"),
            ("Home.md", "tagged/inside"),
            ("日本語 ノート.md", "タグ"),
            ("Board.canvas", "card"),
        }
        assert [hit["title"] for hit in farm.json("search", "これは")] == ["日本語 ノート"]

        farm.look()
        assert farm.json("runs")[0]["jobs"]["succeeded"] == 1, "a second look finds nothing to do"


def test_a_renamed_note_keeps_its_history_and_its_links_move(farm: Farm, vault: Path) -> None:
    with farm:
        farm.look()
        [(row_id,)] = farm.store("SELECT id FROM document WHERE key = 'Projects/Farm.md'")
        (vault / "Projects" / "Farm.md").rename(vault / "Projects" / "Acre.md")
        for name in ("Home.md", "Projects/Garden.md"):  # as Obsidian does it itself
            path = vault / name
            path.write_text(path.read_text().replace("Farm", "Acre"))
        farm.look()
        assert farm.store("SELECT key, title FROM document WHERE id = ?", row_id) == [
            ("Projects/Acre.md", "Acre")
        ]
        assert counts(farm)["deleted"] == 0 or not farm.store(
            "SELECT 1 FROM document WHERE key = 'Projects/Farm.md' AND deleted_at IS NOT NULL"
        )
        found = edges(farm)
        assert ("Projects/Acre.md", "Home", "Home.md") in found
        assert ("Home.md", "Acre", "Projects/Acre.md") in found
        assert not any("Projects/Farm.md" in (edge[0], edge[2]) for edge in found)
        assert farm.cli("doctor").returncode == 0


def test_a_note_that_comes_or_goes_changes_the_links_to_it_and_nothing_else(farm: Farm, vault: Path) -> None:
    with farm:
        farm.look()
        write(vault, {"Later/Not There Yet.md": "Here now.\n"})
        farm.look()
        assert ("Home.md", "Not There Yet", "Later/Not There Yet.md") in edges(farm)
        assert counts(farm)["new"] >= 1
        assert farm.json("runs")[0]["jobs"]["succeeded"] == 3, (
            "the listing, the new note, the one that names it"
        )
        (vault / "Later" / "Not There Yet.md").unlink()
        farm.look()
        assert ("Home.md", "Not There Yet", None) in edges(farm)
        farm.look()
        assert farm.json("runs")[0]["jobs"]["succeeded"] == 1


def test_an_alias_that_comes_is_found_by_the_links_that_wait_for_it(farm: Farm, vault: Path) -> None:
    with farm:
        farm.look()
        path = vault / "Projects" / "Farm.md"
        path.write_text("---\naliases:\n  - Not There Yet\n---\n" + path.read_text())
        farm.look()
        assert ("Home.md", "Not There Yet", "Projects/Farm.md") in edges(farm)


def test_a_moved_folder_keeps_every_document_and_every_link(farm: Farm, vault: Path) -> None:
    with farm:
        farm.look()
        before = {
            key: id_ for key, id_ in farm.store("SELECT key, id FROM document WHERE key LIKE 'Projects/%'")
        }
        (vault / "Projects").rename(vault / "Works")
        farm.look()
        farm.look()  # links that are relative are looked at once more
        after = {key: id_ for key, id_ in farm.store("SELECT key, id FROM document WHERE key LIKE 'Works/%'")}
        assert after == {key.replace("Projects", "Works"): id_ for key, id_ in before.items()}
        found = edges(farm)
        assert ("Home.md", "Garden", "Works/Garden.md") in found
        assert ("Home.md", "Projects/Farm", None) in found
        assert ("Works/Garden.md", "./Farm", "Works/Farm.md") in found
        assert farm.cli("doctor").returncode == 0
        farm.look()
        assert farm.json("runs")[0]["jobs"]["succeeded"] == 1


def test_saving_a_note_is_an_event_of_that_note(farm: Farm, vault: Path, tmp_path: Path) -> None:
    farm.configure({"vault": vault_source(vault, watch=True)})
    with farm.start():  # which lists the vault, as watching begins
        farm.until_jobs(pending=0, running=0, succeeded=len(NOTES) + 4)
        path = vault / "Projects" / "Farm.md"
        path.write_text(path.read_text() + "\n[[Empty]]\n")
        farm.until_jobs(pending=0, running=0, succeeded=len(NOTES) + 6)
        assert ("Projects/Farm.md", "Empty", "Empty.md") in edges(farm)
        os.rename(vault / "Empty.md", vault / "Full.md")
        farm.until_jobs(pending=0, running=0, succeeded=len(NOTES) + 8)
        assert ("Projects/Farm.md", "Empty", None) in edges(farm)
        assert "Full.md" in documents(farm)
        assert "Empty.md" not in documents(farm)
        types = {row["type"] for row in farm.json("runs")}
        assert types == {"incremental", "event"}
