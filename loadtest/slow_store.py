"""A slow store: its file is locked from outside for a share of the time, as a slow disk or a backup would."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from loadtest.scenario import SlowStore


@contextmanager
def held(asked: SlowStore | None, home: Path) -> Iterator[None]:
    """While inside, nobody can write to the store for `held_s` of every `every_s`. Nothing is written by us."""
    if asked is None:
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_hold, args=(asked, home / "store.db", over), name="slow store")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _hold(asked: SlowStore, path: Path, over: threading.Event) -> None:
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as store:
        while not over.wait(asked.every_s - asked.held_s):
            store.execute("BEGIN IMMEDIATE")
            over.wait(asked.held_s)
            store.execute("ROLLBACK")
