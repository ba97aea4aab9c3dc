"""The state folder: where everything lies, and the lock that makes one farm its owner."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from farm import swap
from farm.errors import FarmRunning, HomeUnusable

LEDGER = "ledger.db"
STORE = "store.db"
LOCK = "farm.lock"
IN_FORCE = "in_force.toml"
"""farm.toml as the farm read it last: what counts while it runs, whatever becomes of the file."""
GLANCE_S = 0.2
"""`owner` holds the lock for a moment when it is free: who wants it for life waits that long."""
FOLDERS = ("spool", "beat", "scratch", "cache", "logs")


def prepare(home: Path) -> None:
    """Make the state folder and its parts, mode 0700; raises HomeUnusable."""
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        home.chmod(0o700)
        for name in FOLDERS:
            (home / name).mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise HomeUnusable(home, error.strerror or str(error)) from None


def keep_in_force(home: Path, text: str) -> None:
    """Keep the settings that count from now on; on a full disk there is no word of what counts."""
    kept = home / IN_FORCE
    new = kept.with_suffix(".new")
    try:
        new.write_text(text, encoding="utf-8")
        new.chmod(0o600)
        new.replace(kept)
    except OSError:
        kept.unlink(missing_ok=True)


def cache_of(home: Path, source: str) -> Path:
    """Where the source's workers keep what would cost to fetch again."""
    return home / "cache" / quote(source, safe="")


def clear_caches(home: Path, keep: Iterable[str]) -> None:
    """Remove the caches of all sources but these."""
    kept = {cache_of(home, source) for source in keep}
    for folder in (home / "cache").iterdir():
        if folder not in kept:
            shutil.rmtree(folder, ignore_errors=True)


class Lock:
    """An flock on `home/farm.lock`, held for life; the kernel lets it go with the process, however it ends.

    The file holds the owner's pid, for people: the lock itself is what counts.
    """

    def __init__(self, home: Path) -> None:
        self.path = home / LOCK
        self._fd: int | None = None

    def acquire(self) -> None:
        """Raises FarmRunning when another process holds it, HomeUnusable when it cannot be made.

        Whoever holds it sees one state: a restore that was cut short is completed first.
        """
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise HomeUnusable(self.path.parent, error.strerror or str(error)) from None
        deadline = time.monotonic() + GLANCE_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() < deadline:
                    time.sleep(0.02)
                    continue
                owner = os.pread(fd, 32, 0).strip()
                os.close(fd)
                raise FarmRunning(int(owner) if owner.isdigit() else None, self.path.parent) from None
        self._fd = fd
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            swap.complete(self.path.parent)
        except OSError as error:
            self.release()
            raise HomeUnusable(self.path.parent, error.strerror or str(error)) from None

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Lock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def owner(home: Path) -> int | None:
    """The pid of the farm that holds this state folder, or None."""
    try:
        fd = os.open(home / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except OSError:
        text = os.pread(fd, 32, 0).strip()
        return int(text) if text.isdigit() else None
    finally:
        os.close(fd)
