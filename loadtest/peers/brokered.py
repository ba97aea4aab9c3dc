"""What the queues with workers of their own have in common: fill, start the workers, wait until all is done."""

from __future__ import annotations

import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from farm.connector import Unit
from loadtest import reading
from loadtest.effort import Effort, Work, measured
from loadtest.farmhouse import until
from loadtest.programs import Workers
from loadtest.redis import Redis
from loadtest.tasks import BROKER

WORK_S = 600.0


class Brokered(ABC):
    STOP_BY = signal.SIGTERM

    def __init__(self, folder: Path, workers: int) -> None:
        self.folder = folder
        self.count = workers
        self.store = folder / "store.db"
        self.workers = Workers(folder, stop_by=self.STOP_BY)

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def broker(self) -> str:
        """What LOADTEST_BROKER tells the workers."""

    @abstractmethod
    def commands(self) -> Sequence[Sequence[str]]:
        """The arguments of Python that start its workers."""

    @abstractmethod
    def put_noops(self, jobs: int) -> None: ...

    @abstractmethod
    def put_reads(self, tasks: Sequence[tuple[str, ...]]) -> None: ...

    @abstractmethod
    def left(self) -> int:
        """Jobs that are waiting or taken and not yet acknowledged."""

    def enqueue(self, jobs: int) -> float:
        began = time.perf_counter()
        self.put_noops(jobs)
        return time.perf_counter() - began

    def work(self) -> Work:
        """From the first job that is seen to be done until none is left."""
        whole = self.left()
        self._begin()
        until(lambda: self._left() < whole, 60, "the workers have begun", every_s=0.002)
        first = self.left()
        with measured() as effort:
            until(lambda: self._left() == 0, WORK_S, "all jobs are done")
        return Work(first, effort)

    def read(self, folder: Path, warm: Path) -> Effort:
        self._begin(warm)
        self.workers.wait_until_ready(self.count)
        reading.Rows(self.store).close()
        with measured() as effort:
            units = reading.listed(folder)
            self.put_reads([self._arguments(folder, unit) for unit in units])
            until(lambda: self._read() >= len(units), WORK_S, "all documents are read")
        return effort

    def _begin(self, warm: Path | None = None) -> None:
        self.workers.start(self.commands(), {BROKER: self.broker(), **self.environment()}, warm)

    def environment(self) -> Mapping[str, str]:
        """What else its workers are told."""
        return {}

    def _arguments(self, folder: Path, unit: Unit) -> tuple[str, ...]:
        return reading.arguments(folder, unit, self.store)

    def _left(self) -> int:
        self.workers.check()
        return self.left()

    def _read(self) -> int:
        self.workers.check()
        return reading.done(self.store)

    def close(self) -> None:
        self.workers.stop()


class OnRedis(Brokered):
    """With a Redis of its own, which the harness starts and stops."""

    NEEDS_REDIS = True

    def __init__(self, folder: Path, workers: int) -> None:
        super().__init__(folder, workers)
        self.redis = Redis(folder)

    def start(self) -> None:
        self.redis.start()

    def broker(self) -> str:
        return self.redis.url

    @property
    def client(self) -> Any:
        return self.redis.client

    def close(self) -> None:
        super().close()
        self.redis.close()
