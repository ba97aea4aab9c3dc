"""What the bare pools have in common: a parent that hands out chunks and writes what comes back in large batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from farm.connector import Unit
from loadtest import reading
from loadtest.effort import Effort, Work, measured

NOOPS_AT_ONCE = 1_024
FILES_AT_ONCE = 8


class Pooled(ABC):
    SHARE = 4.0
    READS = 1.0
    LACKS: ClassVar[list[str]] = [
        "no queue at all: what is not done when the program ends, or a worker dies, is lost or must be begun anew",
        "no record, retry, deadline, memory cap, budget or fairness; the rows are written without fences, landings"
        " or an outbox, synchronous=NORMAL",
    ]
    OFFERS: ClassVar[list[str]] = ["nothing to run beside the program; the floor of what the work costs"]

    def __init__(self, folder: Path, workers: int) -> None:
        self.count = workers
        self.store = folder / "store.db"
        self._jobs = 0

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def each(self, function: Callable[[Any], Any], over: Sequence[Any], chunk: int) -> Iterator[Any]:
        """The results, as they come."""

    @abstractmethod
    def close(self) -> None: ...

    def enqueue(self, jobs: int) -> float:
        self._jobs = jobs
        return 0.0

    def work(self) -> Work:
        self._all(noop, range(self.count * 100), 1)  # the workers are there
        with measured() as effort:
            self._all(noop, range(self._jobs), NOOPS_AT_ONCE)
        return Work(self._jobs, effort)

    def read(self, folder: Path, warm: Path) -> Effort:
        self._all(_warm, [str(warm)] * self.count * 4, 1)
        rows = reading.Rows(self.store)
        with measured() as effort:
            units: list[Unit] = reading.listed(folder)
            found = self.each(partial(reading.extracted, str(folder)), units, FILES_AT_ONCE)
            for batch in reading.in_batches(found):
                rows.write(batch)
        rows.close()
        return effort

    def _all(self, function: Callable[[Any], Any], over: Sequence[Any], chunk: int) -> None:
        for _ in self.each(function, over, chunk):
            pass


def noop(n: int) -> None:
    """Nothing."""


def _warm(folder: str) -> None:
    """Long enough that every worker gets one of them."""
    reading.warm_up(folder)
