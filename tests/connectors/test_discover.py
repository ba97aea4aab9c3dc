"""What `local_files` lists, and what it leaves out."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from connectors.files.names import key_of, path_of
from connectors.files.rules import STATE
from farm import home as homes
from farm.connector import Gone, Listing, SourceUnavailable, State, Unit
from tests.connectors.conftest import Folder
from tests.support import bad_files, corpus


def test_a_whole_look_ends_in_a_complete_listing(folder: Folder) -> None:
    folder.write("a.txt")
    folder.write("deep/er/b.md")
    assert folder.keys() == ["a.txt", "deep/er/b.md"]
    assert folder.listed()[-1] == Listing(complete=True)


def test_a_unit_tells_where_a_person_finds_it(folder: Folder) -> None:
    path = folder.write("a ü.txt")
    unit = folder.unit("a ü.txt")
    assert unit.uri == path.as_uri()
    status = path.stat()
    assert unit.version == f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}"


def test_a_moved_file_keeps_its_version_and_a_changed_one_does_not(folder: Folder) -> None:
    path = folder.write("a.txt")
    before = folder.unit("a.txt").version
    path.rename(folder.path / "b.md")
    assert folder.unit("b.md").version == before
    folder.write("b.md", "other text")
    assert folder.unit("b.md").version != before


def test_ignore_files_count_at_every_level_the_deeper_ones_more(folder: Folder) -> None:
    folder.write(".gitignore", "*.log\nbuild/\n/top.txt\n# comment\n\n!\n")
    folder.write("sub/.gitignore", "!kept.log\ndrafts\n")
    for key in (
        "x.log",
        "top.txt",
        "sub/top.txt",
        "sub/kept.log",
        "sub/x.log",
        "build/a.txt",
        "sub/drafts/a.txt",
    ):
        folder.write(key)
    assert folder.keys() == ["sub/kept.log", "sub/top.txt"]


def test_the_farms_own_ignore_file_overrules_the_one_beside_it(folder: Folder) -> None:
    folder.write(".gitignore", "*.log\n")
    folder.write(".farmignore", "!good.log\nprivate/\n")
    for key in ("good.log", "bad.log", "private/a.txt"):
        folder.write(key)
    assert folder.keys() == ["good.log"]


def test_without_gitignore_only_the_farms_own_ignore_file_counts(folder: Folder) -> None:
    folder.write(".gitignore", "a.txt\n")
    folder.write(".farmignore", "b.txt\n")
    for key in ("a.txt", "b.txt"):
        folder.write(key)
    assert folder.keys(gitignore=False) == ["a.txt"]


def test_what_an_ignored_folder_holds_does_not_come_back(folder: Folder) -> None:
    folder.write(".gitignore", "out/\n!out/a.txt\n")
    folder.write("out/a.txt")
    assert folder.keys() == []


def test_include_and_exclude_are_patterns_and_exclude_wins(folder: Folder) -> None:
    for key in ("a.md", "b.txt", "notes/c.md", "notes/old/d.md", "e.dat"):
        folder.write(key)
    assert folder.keys(include=["*.md", "e.dat"], exclude=["notes/old/"]) == ["a.md", "e.dat", "notes/c.md"]
    assert folder.keys(exclude=["*.md"]) == ["b.txt", "e.dat"]


def test_a_broken_pattern_is_a_configuration_error(folder: Folder) -> None:
    with pytest.raises(ValueError, match="exclude"):
        folder.context(exclude=["!"])


def test_a_relative_path_is_a_configuration_error(folder: Folder) -> None:
    with pytest.raises(ValueError, match="absolute"):
        folder.connector.Options(path="notes")


def test_hidden_files_are_off_by_default_and_version_control_always(folder: Folder) -> None:
    for key in (".a.txt", ".dir/b.txt", "c.txt", ".git/d.txt"):
        folder.write(key)
    assert folder.keys() == ["c.txt"]
    assert folder.keys(hidden=True) == [".a.txt", "c.txt", ".dir/b.txt"]


def test_links_are_not_followed_and_pipes_and_sockets_are_not_opened(folder: Folder, tmp_path: Path) -> None:
    corpus.odd_places(folder.path / "odd", tmp_path / "outside")
    folder.write("odd/a.txt")
    context = folder.context()
    listed = folder.listed(context=context)
    assert [item.key for item in listed if isinstance(item, Unit)] == ["odd/a.txt"]
    assert "6 links, pipes, sockets and devices" in context.logged


def test_what_is_no_document_is_left_out_and_counted(folder: Folder) -> None:
    bad_files.lay_down_junk(folder.path / "junk", folder.path)
    folder.write("junk/Makefile", "all:\n\techo\n")
    folder.write("junk/paper", b"%PDF-1.4\n")
    context = folder.context()
    listed = folder.listed(context=context)
    assert [item.key for item in listed if isinstance(item, Unit)] == ["junk/Makefile", "junk/paper"]
    assert "images" in context.logged
    assert ".pyc files" in context.logged


def test_images_are_listed_where_they_can_be_read(folder: Folder) -> None:
    folder.write("a.png", b"\x89PNG\r\n\x1a\n")
    assert folder.keys(ocr="eng") == ["a.png"]


def test_names_that_are_no_utf8_have_a_key_that_leads_back_to_them(folder: Folder) -> None:
    (folder.path / "bad").mkdir()
    bad_files.lay_down_odd_names(folder.path / "bad")
    keys = folder.keys()
    assert sorted(keys) == [
        "bad/caf\\x5cxe9 menu.txt",
        "bad/caf\\xe9 menu.txt",
        "bad/r\\xe9sum\\xe9s/\\xfcber.md",
    ]
    for key in keys:
        assert os.path.lexists(os.fsencode(folder.path) + b"/" + os.fsencode(path_of(key)))
        assert folder.document(key).text


@pytest.mark.parametrize(
    "name", ["plain", "ü", "a\\b", "a\\xe9", "\udce9", "\\x5cxe9", "\\\\xe9\udcff", "\\x5c"]
)
def test_a_key_is_reversible(name: str) -> None:
    assert path_of(key_of(name)) == name
    key_of(name).encode()


def test_a_missing_folder_is_unavailable_and_never_an_empty_listing(folder: Folder) -> None:
    folder.path.rmdir()
    with pytest.raises(SourceUnavailable, match="there is no folder"):
        folder.listed()
    assert "there is no folder" in (folder.connector.check(folder.context()) or "")


def test_a_file_in_place_of_the_folder_is_said(folder: Folder) -> None:
    folder.path.rmdir()
    folder.path.write_text("x")
    assert "is a file, not a folder" in (folder.connector.check(folder.context()) or "")


def test_a_folder_that_can_be_read_has_nothing_to_say(folder: Folder) -> None:
    assert folder.connector.check(folder.context()) is None


def test_ocr_without_its_data_is_said_before_anything_starts(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESSDATA_PREFIX", str(tmp_path))
    assert "tesseract-ocr-eng" in (folder.connector.check(folder.context(ocr="eng")) or "")
    (tmp_path / "eng.traineddata").touch()
    assert folder.connector.check(folder.context(ocr="eng")) is None


def test_an_unmounted_disk_is_unavailable_and_an_emptied_folder_is_empty(folder: Folder) -> None:
    path = folder.write("a.txt")
    cursor = next(item.value for item in folder.listed() if isinstance(item, State))
    path.unlink()
    assert folder.listed(cursor=cursor)[-1] == Listing(complete=True)
    folder.path.rename(folder.path.with_name("elsewhere"))
    folder.path.mkdir()
    with pytest.raises(SourceUnavailable, match="is its disk mounted"):
        folder.listed(cursor=cursor)
    folder.write("b.txt")
    assert folder.keys(cursor=cursor) == ["b.txt"]


def test_an_unchanged_folder_has_no_new_cursor(folder: Folder) -> None:
    folder.write("a.txt")
    cursor = next(item.value for item in folder.listed() if isinstance(item, State))
    assert not [item for item in folder.listed(cursor=cursor) if isinstance(item, State)]


UNPRIVILEGED = """
import os, sys
sys.path.insert(0, sys.argv[1])
from connectors.local_files import LocalFiles
from farm.connector import Unit
from tests.support.context import Context
if os.getuid() == 0:  # to root nothing is closed: look as somebody else
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
connector = LocalFiles()
context = Context(connector.Options(path=sys.argv[2]))
listed = list(connector.discover(context, None))
print([item.key for item in listed if isinstance(item, Unit)], listed[-1].unread, context.logged)
try:
    list(connector.extract(context, Unit("b.txt", "")))
except PermissionError:
    print("refused")
"""


def test_a_folder_that_may_not_be_read_is_named_by_the_listing() -> None:
    with tempfile.TemporaryDirectory() as place:  # one that everybody may enter, as tmp_path is not
        Path(place).chmod(0o755)
        folder = Folder(Path(place))
        folder.write("a.txt").chmod(0o644)
        folder.write("b.txt").chmod(0)
        folder.write("closed/c.txt")
        (folder.path / "closed").chmod(0)
        command = [sys.executable, "-c", UNPRIVILEGED, str(Path(__file__).parents[2]), place]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        (folder.path / "closed").chmod(0o755)
    assert done.stdout.startswith("['a.txt', 'b.txt'] ['closed/'] warning: cannot look into closed"), (
        done.stderr
    )
    assert "refused" in done.stdout


def test_a_stop_request_ends_the_listing_early_and_incomplete(folder: Folder) -> None:
    folder.write("a.txt")
    context = folder.context()
    context.stop_requested = True
    assert folder.listed(context=context) == [Listing(complete=False)]


def test_listing_reports_progress(folder: Folder) -> None:
    folder.write("sub/a.txt")
    context = folder.context()
    folder.listed(context=context)
    assert context.beats[-1][0] == 2


def test_a_farms_own_folder_is_passed_over_wherever_it_lies(folder: Folder) -> None:
    assert {homes.LOCK, homes.LEDGER} == STATE
    for name in ("note.md", "state/farm.toml", "state/farm.lock", "state/ledger.db", "state/logs/farm.log"):
        folder.write(name)
    folder.write("other/ledger.db")
    folder.write("other/note.md")
    assert folder.keys(hidden=True) == ["note.md", "other/note.md"]
    asked = folder.context(paths=["state/farm.toml", "state/logs/farm.log", "state/gone.md", "other/note.md"])
    assert [item.key for item in folder.listed(context=asked) if isinstance(item, Unit | Gone)] == [
        "other/note.md"
    ]
    options = asked.options
    assert folder.connector.watch_key(options, folder.path / "state/logs/farm.log") is None
    assert folder.connector.watch_key(options, folder.path / "other/note.md") == "other/note.md"
