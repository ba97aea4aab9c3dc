"""The landing thread: the store's only writer. Land before settle: a crash repeats work, never loses it.

What has come in by the time it looks lands in one store transaction. The store refuses what a newer attempt
has overtaken, and landing the same attempt twice changes nothing.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path

from farm.core.job import Ending
from farm.store.landing import Landed, Landing
from farm.store.store import Store
from farm.telemetry import Name, log

BATCH_BYTES = 8 * 1024 * 1024
"""A batch is closed at about this much spool: large enough for the index, small enough to keep pace."""
BATCH_LANDINGS = 512


class Lander:
    """`put` from the dispatcher, `poll` from the dispatcher; `wake` is called when poll has something.

    An error of the store ends the thread and is kept in `failure`: durability is in question, so the farm stops.
    """

    def __init__(self, path: Path, *, wake: Callable[[], None]) -> None:
        self._path = path
        self._wake = wake
        self._inbox: queue.SimpleQueue[tuple[Landing, Ending] | Callable[[Store], None] | None] = (
            queue.SimpleQueue()
        )
        self._outbox: queue.SimpleQueue[tuple[Landed, Ending]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="landing", daemon=True)
        self._opened = threading.Event()
        self.failure: BaseException | None = None

    def start(self) -> None:
        """Open the store; raises what opening it raises."""
        self._thread.start()
        self._opened.wait()
        if self.failure:
            raise self.failure

    def put(self, landing: Landing, ending: Ending) -> None:
        self._inbox.put((landing, ending))

    def do(self, act: Callable[[Store], None]) -> None:
        """Have the landing thread do something else to the store, in its turn."""
        self._inbox.put(act)

    def poll(self) -> list[tuple[Landed, Ending]]:
        """What has landed since the last call."""
        done = []
        while not self._outbox.empty():
            done.append(self._outbox.get())
        return done

    def close(self) -> None:
        """Land what is there, then end."""
        if self._thread.is_alive():
            self._inbox.put(None)
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
            results = store.land([landing for landing, _ in batch])
            for result, (_, ending) in zip(results, batch, strict=True):
                self._outbox.put((result, ending))
            self._wake()
        if act:
            act(store)
        return not over

    def _take(self) -> tuple[list[tuple[Landing, Ending]], Callable[[Store], None] | None, bool]:
        """Wait for something, then take what is there: (batch, something else to do, told to end)."""
        batch: list[tuple[Landing, Ending]] = []
        size = 0
        while True:
            entry = self._inbox.get()
            if entry is None:
                return batch, None, True
            if callable(entry):
                return batch, entry, False
            batch.append(entry)
            size += entry[1].end - entry[1].start
            if size >= BATCH_BYTES or len(batch) >= BATCH_LANDINGS or self._inbox.empty():
                return batch, None, False
