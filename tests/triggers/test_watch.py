"""Changes in a watched folder, as real programs make them, seen through real inotify."""

from __future__ import annotations

import mmap
import os
import shutil
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

from farm.triggers.watch import Pace, Watch
from tests.support.wait import until
from tests.triggers.conftest import SWIFT, Seen, begin

Watching = Callable[..., Watch]


def test_everything_is_listed_once_the_watch_stands(seen: Seen, watching: Watching) -> None:
    watching()
    assert [keys for _, keys in seen.fires] == [None]
    assert seen.sentences == [""], "all is well"


def test_a_saved_file_fires_within_700_ms(folder: Path, seen: Seen, watching: Watching) -> None:
    watching(pace=Pace())
    delays = []
    for i in range(5):
        began = time.monotonic()
        (folder / f"{i}.txt").write_text("hello")
        until(lambda i=i: f"{i}.txt" in seen.keys, every_s=0.002)
        delays.append(time.monotonic() - began)
    assert statistics.median(delays) < 0.7, delays


def test_a_file_fires_once_however_often_it_is_written(folder: Path, seen: Seen, watching: Watching) -> None:
    watching(pace=Pace())
    with (folder / "a.txt").open("w") as file:
        for _ in range(20):
            file.write("more")
            file.flush()
            time.sleep(0.01)
    until(lambda: seen.keys)
    time.sleep(0.5)
    assert [keys for _, keys in seen.fires if keys is not None] == [["a.txt"]]


def test_a_file_that_is_written_to_without_end_fires_all_the_same(
    folder: Path, seen: Seen, watching: Watching
) -> None:
    watching(pace=Pace(quiet_s=0.2, max_wait_s=0.5))
    done = threading.Event()

    def write() -> None:
        with (folder / "log.txt").open("w") as file:
            while not done.is_set():
                file.write("more")
                file.flush()
                time.sleep(0.02)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        until(lambda: "log.txt" in seen.keys)
    finally:
        done.set()
        writer.join()


def test_a_file_written_through_memory_is_waited_for(folder: Path, seen: Seen, watching: Watching) -> None:
    """mmap makes no events: only its time of modification shows that somebody is still at it."""
    watching(pace=Pace(quiet_s=0.4, max_wait_s=3.0))
    path = folder / "map.bin"
    path.write_bytes(bytes(8192))
    written_at = 0.0
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 8192) as mapped:
        for i in range(10):
            mapped[i] = 1
            mapped.flush()
            os.utime(path)
            written_at = time.monotonic()
            time.sleep(0.1)
    until(lambda: "map.bin" in seen.keys)
    fired_at = next(at for at, keys in seen.fires if keys)
    assert fired_at > written_at + 0.3


def test_no_file_of_a_burst_is_lost(folder: Path, seen: Seen, watching: Watching) -> None:
    watching()
    deep = folder / "a" / "b" / "c"
    deep.mkdir(parents=True)
    for i in range(500):
        (folder / f"{i}.txt").write_text("x" * i)
        (deep / f"{i}.txt").write_text("x" * i)
    expected = {f"{i}.txt" for i in range(500)} | {f"a/b/c/{i}.txt" for i in range(500)}
    until(lambda: expected <= seen.keys, timeout_s=20, what="all 1,000 files")
    assert len(seen.fires) < 40, "in few fires"


def test_a_copied_tree_is_seen_whole(folder: Path, seen: Seen, watching: Watching, tmp_path: Path) -> None:
    for i in range(100):
        path = tmp_path / "from" / str(i % 10) / f"{i}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    watching()
    shutil.copytree(tmp_path / "from", folder / "to")
    expected = {f"to/{i % 10}/{i}.txt" for i in range(100)}
    until(lambda: expected <= seen.keys)


def test_a_move_gives_both_names(folder: Path, seen: Seen, watching: Watching) -> None:
    (folder / "a.txt").write_text("x")
    watching()
    (folder / "a.txt").rename(folder / "b.txt")
    until(lambda: {"a.txt", "b.txt"} <= seen.keys)


def test_an_editor_that_saves_by_renaming_is_seen(folder: Path, seen: Seen, watching: Watching) -> None:
    watching()
    (folder / ".a.txt.swp").write_text("new")
    (folder / ".a.txt.swp").replace(folder / "a.txt")
    until(lambda: "a.txt" in seen.keys)


def test_a_deleted_file_is_seen(folder: Path, seen: Seen, watching: Watching) -> None:
    (folder / "a.txt").write_text("x")
    watching()
    (folder / "a.txt").unlink()
    until(lambda: "a.txt" in seen.keys)


def test_a_moved_folder_gives_both_names_of_each_file(folder: Path, seen: Seen, watching: Watching) -> None:
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "sub" / "deep" / "a.txt").write_text("x")
    watching()
    (folder / "sub").rename(folder / "bus")
    until(lambda: {"sub/deep/a.txt", "bus/deep/a.txt"} <= seen.keys)
    (folder / "bus" / "deep" / "b.txt").write_text("x")
    until(lambda: "bus/deep/b.txt" in seen.keys)


def test_a_folder_that_is_moved_out_asks_for_a_listing(
    folder: Path, seen: Seen, watching: Watching, tmp_path: Path
) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "a.txt").write_text("x")
    watching()
    (folder / "sub").rename(tmp_path / "elsewhere")
    until(lambda: seen.listings == 2)


def test_a_folder_that_is_moved_in_gives_its_files(
    folder: Path, seen: Seen, watching: Watching, tmp_path: Path
) -> None:
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "sub" / "deep" / "a.txt").write_text("x")
    watching()
    (tmp_path / "sub").rename(folder / "sub")
    until(lambda: "sub/deep/a.txt" in seen.keys)
    (folder / "sub" / "deep" / "b.txt").write_text("x")
    until(lambda: "sub/deep/b.txt" in seen.keys)


def test_reading_files_fires_nothing(folder: Path, seen: Seen, watching: Watching) -> None:
    """Or each extraction would ask for the next."""
    (folder / "a.txt").write_text("x")
    watching()
    for _ in range(3):
        (folder / "a.txt").read_text()
        os.listdir(folder)
    time.sleep(0.4)
    assert len(seen.fires) == 1


def test_a_name_that_is_not_utf8_is_seen(folder: Path, seen: Seen, watching: Watching) -> None:
    watching()
    with open(os.fsencode(folder) + b"/caf\xe9.txt", "w") as file:
        file.write("x")
    until(lambda: os.fsdecode(b"caf\xe9.txt") in seen.keys)


def test_only_what_the_connector_knows_as_its_own_fires(folder: Path, seen: Seen) -> None:
    def key_of(path: Path) -> str | None:
        return None if path.suffix == ".tmp" else path.name

    watch = Watch("notes", folder, key_of, seen.fire, seen.degraded, pace=SWIFT)
    watch.start()
    until(lambda: seen.listings)
    (folder / "a.tmp").write_text("x")
    (folder / "b.txt").write_text("x")
    until(lambda: seen.keys)
    watch.close()
    assert seen.keys == {"b.txt"}


def test_a_connector_that_cannot_tell_a_key_gets_a_listing(folder: Path, seen: Seen) -> None:
    def key_of(path: Path) -> str | None:
        raise ValueError(path)

    watch = Watch("notes", folder, key_of, seen.fire, seen.degraded, pace=SWIFT)
    watch.start()
    until(lambda: seen.listings == 1)
    (folder / "a.txt").write_text("x")
    until(lambda: seen.listings == 2)
    (folder / "b.txt").write_text("x")
    until(lambda: seen.listings == 3)
    watch.close()


def test_a_fire_that_cannot_be_handed_over_is_tried_again(folder: Path, seen: Seen) -> None:
    refusals = [3]

    def fire(source: str, keys: list[str] | None) -> None:
        if keys and refusals[0]:
            refusals[0] -= 1
            raise RuntimeError("busy")
        seen.fire(source, keys)

    watch = Watch("notes", folder, lambda path: path.name, fire, seen.degraded, pace=SWIFT)
    watch.start()
    until(lambda: seen.listings)
    (folder / "a.txt").write_text("x")
    until(lambda: "a.txt" in seen.keys)
    watch.close()
    assert refusals == [0]


def test_everything_is_listed_now_and_then(seen: Seen, watching: Watching) -> None:
    watching(rescan_s=0.3)
    until(lambda: seen.listings >= 3)


def test_a_folder_behind_a_symbolic_link_is_watched_under_its_own_name(
    folder: Path, seen: Seen, watching: Watching, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    watching(link)
    (folder / "a.txt").write_text("x")
    until(lambda: "a.txt" in seen.keys)


def test_a_folder_that_vanishes_and_returns_is_told_and_watched_anew(
    folder: Path, seen: Seen, watching: Watching
) -> None:
    watching()
    listings = seen.listings
    shutil.rmtree(folder)
    until(lambda: seen.sentences[-1].startswith(f"the folder {folder} cannot be reached"))
    time.sleep(0.5)
    assert seen.listings == listings, "a listing would take everything for deleted"
    folder.mkdir()
    until(lambda: seen.sentences[-1] == "" and seen.listings > listings)
    (folder / "a.txt").write_text("x")
    until(lambda: "a.txt" in seen.keys)


def test_a_folder_that_is_exchanged_for_another_is_watched_anew(
    folder: Path, seen: Seen, watching: Watching, tmp_path: Path
) -> None:
    watching()
    folder.rename(tmp_path / "old")
    folder.mkdir()
    until(lambda: seen.listings == 2)
    (folder / "a.txt").write_text("x")
    until(lambda: "a.txt" in seen.keys)


def test_a_folder_that_comes_later_is_waited_for(tmp_path: Path, seen: Seen) -> None:
    later = tmp_path / "later"
    watch = begin(later, seen)
    until(lambda: seen.sentences)
    assert seen.sentences[-1].startswith(f"the folder {later} cannot be reached (No such file or directory)")
    assert seen.fires == []
    later.mkdir()
    until(lambda: seen.listings)
    watch.close()
    assert seen.sentences[-1] == ""


def test_an_idle_watch_costs_next_to_nothing(seen: Seen, watching: Watching) -> None:
    watching(pace=Pace())
    began = time.process_time()
    time.sleep(1.5)
    assert time.process_time() - began < 0.1


def test_nothing_is_left_of_a_closed_watch(folder: Path, seen: Seen, watching: Watching) -> None:
    def descriptors() -> int:
        return sum(
            os.readlink(f"/proc/self/fd/{fd}").startswith("anon_inode:inotify")
            for fd in os.listdir("/proc/self/fd")
            if os.path.islink(f"/proc/self/fd/{fd}")
        )

    threads, before = threading.active_count(), descriptors()
    watch = watching()
    assert descriptors() == before + 1
    watch.close()
    until(lambda: threading.active_count() == threads)
    until(lambda: descriptors() == before)
    n = len(seen.fires)
    (folder / "a.txt").write_text("x")
    time.sleep(0.4)
    assert len(seen.fires) == n


def test_the_waits_are_those_of_the_promise() -> None:
    assert (Pace().quiet_s, Pace().max_wait_s) == (0.3, 2.0)
