"""The landing thread: the store's only writer. Land before settle: a crash repeats work, never loses it.

What has come in by the time it looks lands in one store transaction. The store refuses what a newer attempt
has overtaken, and landing the same attempt twice changes nothing.
"""

from __future__ import annotations

import errno
import gc
import os
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from farm import shortage, spool
from farm.core.job import Ending, Stage
from farm.errors import DiskFull
from farm.store.landing import Landed, Landing
from farm.store.store import Store
from farm.telemetry import Name, log

T = TypeVar("T")

BATCH_BYTES = 8 * 1024 * 1024
"""A batch is closed at about this much spool: large enough for the index, small enough to keep pace."""
BATCH_LANDINGS = 1_024
"""And at so many small ones, which take about a sixth of a second: larger ones gain little."""
LONG_BYTES = 4 * BATCH_BYTES
"""So much takes seconds: it lands with the garbage collector at work."""
AGAIN_S = 1.0
"""How often a full disk is tried again."""
SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
"""What keeps a spool from being read for a while, and says nothing about the store."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One attempt's content, whose lines can be read again and again, and the spool they are read from."""

    landing: Landing
    ending: Ending
    spool: Path


class Lander:
    """`put` from the dispatcher, `poll` from the dispatcher; `wake` is called when poll has something.

    An error of the store ends the thread and is kept in `failure`: durability is in question, so the farm stops.
    A full disk is none: nothing of the batch was written, its spools are there, so it waits (`full`) and lands
    them when there is room.
    """

    def __init__(self, path: Path, *, wake: Callable[[], None]) -> None:
        self._path = path
        self._wake = wake
        self._inbox: queue.SimpleQueue[Entry | Callable[[Store], None] | None] = queue.SimpleQueue()
        self._outbox: queue.SimpleQueue[tuple[Landed, Ending]] = queue.SimpleQueue()
        self._thread = shortage.Thread(self._run, name="landing")
        self._opened = threading.Event()
        self._closing = threading.Event()
        self._room = threading.Event()
        self.failure: BaseException | None = None
        self.full = False

    def start(self) -> None:
        """Open the store; raises what opening it raises."""
        self._thread.start()
        self._opened.wait()
        if self.failure:
            raise self.failure

    def put(self, entry: Entry) -> None:
        self._inbox.put(entry)

    def do(self, act: Callable[[Store], None]) -> None:
        """Have the landing thread do something else to the store, in its turn."""
        self._inbox.put(act)

    def poll(self) -> list[tuple[Landed, Ending]]:
        """What has landed since the last call."""
        done = []
        while not self._outbox.empty():
            done.append(self._outbox.get())
        return done

    def try_again(self) -> None:
        """There may be room now."""
        self._room.set()

    def close(self) -> None:
        """Land what is there, as far as there is room for it, then end."""
        if self._thread.is_alive():
            self._inbox.put(None)
            self._closing.set()
            self._room.set()
            self._thread.join()

    def _run(self) -> None:
        try:
            store = Store.open(self._path)
        except BaseException as error:  # noqa: BLE001 - handed to the caller of start
            self.failure = error
            self._opened.set()
            return
        self._opened.set()
        try:
            while self._turn(store):
                pass
        except BaseException as error:  # noqa: BLE001 - kept for the dispatcher, which stops the farm
            self.failure = error
            log(Name.LANDING_FAILED, error=error)
        finally:
            store.close()
            self._wake()

    def _turn(self, store: Store) -> bool:
        """Land one batch; False once told to end."""
        batch, act, over = self._take()
        if batch:
            for entry in batch:
                if entry.landing.stage is Stage.DISCOVER:
                    _make_durable(entry.spool)
            results = self._persist(lambda: _land(store, batch))
            for result, entry in zip(results, batch, strict=True):
                self._outbox.put((result, entry.ending))
            self._wake()
        if act:
            self._persist(lambda: act(store))
        return not over

    def _persist(self, write: Callable[[], T]) -> T:
        """Write; while the machine is short of something, wait and write again. Nothing is left of what failed."""
        while True:
            self._room.clear()
            try:
                result = write()
            except (DiskFull, OSError) as error:
                self.full = isinstance(error, DiskFull)
                short = isinstance(error, OSError) and error.errno in SHORTAGES
                if self._closing.is_set() or not (self.full or short):
                    raise
                self._wake()
                self._room.wait(AGAIN_S)
            else:
                self.full = False
                return result

    def _take(self) -> tuple[list[Entry], Callable[[Store], None] | None, bool]:
        """Wait for something, then take what is there: (batch, something else to do, told to end)."""
        batch: list[Entry] = []
        size = 0
        while True:
            entry = self._inbox.get()
            if entry is None:
                return batch, None, True
            if not isinstance(entry, Entry):
                return batch, entry, False
            batch.append(entry)
            size += _bytes(entry)
            if size >= BATCH_BYTES or len(batch) >= BATCH_LANDINGS or self._inbox.empty():
                return batch, None, False


def _land(store: Store, batch: Sequence[Entry]) -> list[Landed]:
    """Land them with the garbage collector at rest.

    Nothing here makes cycles, but so many objects that collections would take a twentieth of a batch of small
    documents. What else runs meanwhile is collected after it.
    """
    at_work = gc.isenabled() and sum(_bytes(entry) for entry in batch) < LONG_BYTES
    if at_work:
        gc.disable()
    try:
        with spool.at_hand():
            return store.land([entry.landing for entry in batch])
    finally:
        if at_work:
            gc.enable()


def _bytes(entry: Entry) -> int:
    return entry.ending.end - entry.ending.start


def _make_durable(path: Path) -> None:
    """A listing lands its cursor, but its units only become jobs when it is settled: until then its spool is
    all that knows of them, also after a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
