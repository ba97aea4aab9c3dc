"""When the system refuses a watch, for real: no descriptors, no room for watches, no permission, a full queue.

Each runs in a process of its own, which can be limited without harm to the others.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PREAMBLE = """
import os, resource, sys, time
from pathlib import Path
from tests.support.wait import until
from tests.triggers.conftest import Seen, begin
folder, seen = Path(sys.argv[1]), Seen()
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users reach too."""
    path = Path(tempfile.mkdtemp(prefix="farm-watch-"))
    path.chmod(0o755)
    yield path
    for below in path.rglob("*"):
        if below.is_dir():
            below.chmod(0o755)
    shutil.rmtree(path)


def run(code: str, folder: Path, *wrapper: str) -> None:
    done = subprocess.run(
        [*wrapper, sys.executable, "-c", PREAMBLE + textwrap.dedent(code), str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_without_a_watch_the_folder_is_listed_instead_and_watched_once_it_is_possible(tmp_path: Path) -> None:
    """The limit of open files refuses the inotify instance as the limit of instances does (EMFILE)."""
    run(
        """
        used = len(os.listdir("/proc/self/fd")) - 1
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (used, hard))
        watch = begin(folder, seen)
        until(lambda: seen.sentences)
        sentence = seen.sentences[-1]
        assert sentence.startswith(f"changes in {folder} are not noticed at once"), sentence
        assert "fs.inotify.max_user_instances" in sentence and "listed every 0.3 s instead" in sentence, sentence
        until(lambda: seen.listings >= 3)

        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        until(lambda: seen.sentences[-1] == "")
        (folder / "a.txt").write_text("x")
        until(lambda: "a.txt" in seen.keys)
        listings = seen.listings
        time.sleep(0.8)
        assert seen.listings == listings, "nothing is polled any more"
        watch.close()
        """,
        tmp_path,
    )


def test_a_folder_that_may_not_be_read_is_told_and_watched_once_it_may(open_folder: Path) -> None:
    (open_folder / "free").mkdir()
    (open_folder / "shut").mkdir()
    run(
        """
        (folder / "shut").chmod(0o000)
        if os.getuid() == 0:  # root may read everything
            for path in (folder, folder / "free", folder / "shut"):
                os.chown(path, 65534, 65534)
            os.setgroups([]); os.setgid(65534); os.setuid(65534)
        watch = begin(folder, seen)
        until(lambda: seen.sentences and seen.sentences[-1])
        sentence = seen.sentences[-1]
        assert sentence.startswith(f"changes in {folder / 'shut'} are not noticed at once"), sentence
        assert "reading it is not permitted" in sentence, sentence
        (folder / "free" / "a.txt").write_text("x")
        until(lambda: "free/a.txt" in seen.keys)
        until(lambda: seen.listings >= 3)

        (folder / "shut").chmod(0o755)
        until(lambda: seen.sentences[-1] == "")
        (folder / "shut" / "b.txt").write_text("x")
        until(lambda: "shut/b.txt" in seen.keys)
        watch.close()
        """,
        open_folder,
    )


def test_a_tree_with_more_folders_than_watches_is_told_and_listed(tmp_path: Path) -> None:
    """A user namespace has a limit of watches of its own, which its root may lower."""
    for i in range(20):
        (tmp_path / str(i)).mkdir()
    own = ["unshare", "--user", "--map-root-user"]
    if subprocess.run([*own, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this kernel lets nobody make a user namespace")
    run(
        """
        limit = Path("/proc/sys/user/max_inotify_watches")
        limit.write_text("10")
        watch = begin(folder, seen)
        until(lambda: seen.sentences and seen.sentences[-1])
        sentence = seen.sentences[-1]
        assert "11 folders" in sentence and "fs.inotify.max_user_watches" in sentence, sentence
        until(lambda: seen.listings >= 3)
        (folder / "a.txt").write_text("x")
        until(lambda: "a.txt" in seen.keys)

        limit.write_text("1000")
        until(lambda: seen.sentences[-1] == "")
        for i in range(20):
            (folder / str(i) / "b.txt").write_text("x")
        until(lambda: {f"{i}/b.txt" for i in range(20)} <= seen.keys)

        limit.write_text("21")  # all of them taken
        (folder / "new").mkdir()
        # One of 22 is refused: the new one, or another where all of them were asked for anew meanwhile.
        told = f"changes in {folder}/"
        until(lambda: seen.sentences[-1].startswith(told) and "max_user_watches" in seen.sentences[-1])
        watch.close()
        """,
        tmp_path,
        *own,
    )


def test_lost_events_are_told_and_everything_is_listed(tmp_path: Path) -> None:
    """More events than the kernel's queue holds, made while nobody can read them."""
    run(
        """
        import ctypes
        most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
        (folder / "sub").mkdir()
        paths = [os.fsencode(folder / "sub" / name) for name in "ab"]
        for path in paths:
            open(path, "w").close()
        watch = begin(folder, seen)
        until(lambda: seen.listings == 1)
        listings = seen.listings

        libc = ctypes.PyDLL(None)  # its calls keep the interpreter's lock …
        sys.setswitchinterval(1000)  # … and nobody else gets it in between
        for _ in range(most // 2 + 1000):
            libc.utimes(paths[0], None)
            libc.utimes(paths[1], None)
        sys.setswitchinterval(0.005)

        until(lambda: seen.listings > listings, timeout_s=20)
        assert any("more changed in" in sentence for sentence in seen.sentences), seen.sentences
        until(lambda: seen.sentences[-1] == "", timeout_s=20)
        (folder / "sub" / "c.txt").write_text("x")
        until(lambda: "sub/c.txt" in seen.keys, timeout_s=20)
        watch.close()
        """,
        tmp_path,
    )


def test_a_dead_thread_of_the_observer_is_noticed(tmp_path: Path) -> None:
    run(
        """
        watch = begin(folder, seen)
        until(lambda: seen.listings == 1)
        watch._tree._observer.stop()
        until(lambda: seen.listings == 2)
        (folder / "a.txt").write_text("x")
        until(lambda: "a.txt" in seen.keys)
        watch.close()
        """,
        tmp_path,
    )
