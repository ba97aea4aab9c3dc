"""A restored state takes the place of the old one: all of it, whatever is killed when.

    stage     files are written to home/restore.part, synced, and renamed to home/restore.new: from here on the
              new state counts
    complete  each old file is moved to home/replaced-<time>, and each new one into its place

Whoever takes the farm's lock completes what was cut short, before it opens anything. Needs the lock.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

PART = "restore.part"
NEW = "restore.new"
ASIDE = "aside"
"""A file in the staged folder: the name of the folder that takes what is replaced."""
COMPANIONS = ("-wal", "-shm", "-journal")


def is_pending(home: Path) -> bool:
    """A restore was cut short after it had begun to count."""
    return (home / NEW).is_dir()


def stage(home: Path) -> Path:
    """An empty folder for the new state; what an earlier attempt left there is gone."""
    part = home / PART
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    return part


def commit(home: Path, aside: str) -> None:
    """Put the staged state in place; what it replaces goes to home/`aside`."""
    part = home / PART
    (part / ASIDE).write_text(aside)
    for path in (part / ASIDE, part):
        sync(path)
    part.rename(home / NEW)
    sync(home)
    complete(home)


def complete(home: Path) -> None:
    """Finish a restore that counts; nothing to do where there is none. Each step may be the last one."""
    new = home / NEW
    if not is_pending(home):
        return
    if not (new / ASIDE).exists():  # all is done but this
        new.rmdir()
        return
    aside = home / (new / ASIDE).read_text()
    aside.mkdir(mode=0o700, exist_ok=True)
    for staged in sorted(new.iterdir()):
        if staged.name == ASIDE:
            continue
        place = home / staged.name
        # A database's log first: beside the new file, the old one's log would be taken for its own.
        for companion in COMPANIONS:
            _put_aside(home / f"{staged.name}{companion}", aside)
        if place.is_dir():
            with contextlib.suppress(OSError):
                place.rmdir()  # an empty one is nothing to keep
            _put_aside(place, aside)
        elif place.exists() and not (aside / place.name).exists():
            _keep(place, aside / place.name)
        sync(aside)
        staged.rename(place)
        sync(home)
    (new / ASIDE).unlink()
    new.rmdir()
    with contextlib.suppress(OSError):
        aside.rmdir()  # nothing was replaced
    sync(home)


def sync(path: Path) -> None:
    """What was written to this file, or which names this folder has, is on the disk after this."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _keep(place: Path, kept: Path) -> None:
    """A second name for the old file, which so stays in place until the new one takes it."""
    try:
        os.link(place, kept)
    except OSError:  # a file system without links
        place.rename(kept)


def _put_aside(path: Path, aside: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        target = aside / path.name
        number = 1
        while target.exists():  # this step was done before, and something was made anew since
            number += 1
            target = aside / f"{path.name}.{number}"
        path.rename(target)
