"""Event runs: what became of these paths, by the same rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from farm.connector import Gone, Item, Listing, SourceUnavailable, State, Unit
from tests.connectors.conftest import Folder


def told(folder: Folder, *paths: str, cursor: object = None) -> list[tuple[str, str]]:
    items: list[Item] = folder.listed(paths=list(paths), cursor=cursor)
    assert items[-1] == Listing(complete=False)
    return [(type(item).__name__, item.key) for item in items if isinstance(item, Unit | Gone)]


def test_a_changed_file_is_a_unit_and_a_vanished_one_is_gone(folder: Folder) -> None:
    folder.write("a.txt")
    folder.write("other.txt")
    assert told(folder, "a.txt", "was/here.txt") == [("Unit", "a.txt"), ("Gone", "was/here.txt")]


def test_both_ends_of_a_move_are_told_with_one_version(folder: Folder) -> None:
    path = folder.write("a.txt")
    version = folder.unit("a.txt").version
    path.rename(folder.path / "b.txt")
    unit, gone, _ = folder.listed(paths=["a.txt", "b.txt"])
    assert isinstance(unit, Unit) and (unit.key, unit.version) == ("b.txt", version)
    assert gone == Gone("a.txt")


def test_a_folder_is_walked_by_the_rules_and_nothing_told_twice(folder: Folder) -> None:
    folder.write(".gitignore", "*.log\n")
    for key in ("new/a.txt", "new/deep/b.txt", "new/c.log", "new/.hidden/d.txt"):
        folder.write(key)
    assert told(folder, "new", "new/", "new/a.txt") == [("Unit", "new/a.txt"), ("Unit", "new/deep/b.txt")]


@pytest.mark.parametrize(
    "key", ["x.log", ".hidden.txt", "sub/.dir/a.txt", "build/a.txt", "build", "sub/no/a.txt"]
)
def test_what_the_rules_leave_out_is_not_told(folder: Folder, key: str) -> None:
    folder.write(".gitignore", "*.log\nbuild/\n")
    folder.write("sub/.gitignore", "no/\n")
    folder.write("build/a.txt")
    if key != "build":
        folder.write(key)
    assert told(folder, key) == []


def test_a_document_that_became_none_is_gone(folder: Folder) -> None:
    folder.write("notes", "text")
    assert told(folder, "notes") == [("Unit", "notes")]
    folder.write("notes", b"\x7fELF\x00\x00")
    assert told(folder, "notes") == [("Gone", "notes")]


def test_a_link_on_the_way_is_not_followed(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.txt").write_text("x")
    (folder.path / "link").symlink_to(tmp_path / "outside")
    assert told(folder, "link/a.txt") == []
    assert told(folder, "link") == [("Gone", "link")]


@pytest.mark.parametrize("key", ["../outside.txt", "a/../../b.txt", "/etc/passwd", "a\0b", "./a.txt"])
def test_a_path_that_leads_elsewhere_is_not_looked_at(folder: Folder, key: str) -> None:
    (folder.path.parent / "outside.txt").write_text("x")
    folder.write("a.txt")
    assert told(folder, key) == []


@pytest.mark.parametrize("key", [".gitignore", "sub/.farmignore", "vanished/"])
def test_other_rules_and_a_vanished_folder_ask_for_a_whole_look(folder: Folder, key: str) -> None:
    folder.write("a.txt")
    folder.write("sub/b.txt")
    items = folder.listed(paths=[key])
    assert [item.key for item in items if isinstance(item, Unit)] == ["a.txt", "sub/b.txt"]
    assert items[-1] == Listing(complete=True)


def test_nothing_is_gone_when_the_folder_itself_is(folder: Folder) -> None:
    folder.write("a.txt")
    cursor = next(item.value for item in folder.listed() if isinstance(item, State))
    folder.path.rename(folder.path.with_name("elsewhere"))
    with pytest.raises(SourceUnavailable):
        folder.listed(paths=["a.txt"], cursor=cursor)
    folder.path.mkdir()
    with pytest.raises(SourceUnavailable, match="is its disk mounted"):
        folder.listed(paths=["a.txt"], cursor=cursor)


def test_the_watch_is_told_which_paths_are_ours(folder: Folder) -> None:
    connector, options = folder.connector, folder.context().options
    assert connector.watch_path(options) == folder.path
    assert connector.watch_key(options, folder.path / "a" / "b.txt") == "a/b.txt"
    assert connector.watch_key(options, folder.path / "a" / ".gitignore") == "a/.gitignore"
    for path in (
        folder.path,
        folder.path / ".git" / "index",
        folder.path / ".a.swp",
        folder.path.parent / "x",
    ):
        assert connector.watch_key(options, path) is None
