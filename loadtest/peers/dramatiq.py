"""Dramatiq as its documentation starts it, on Redis: its default middleware (retries, time limit, age limit …), and in
each process its eight threads, for each of which it prefetches two messages.

Documents are read by one thread in each process: what reads PDF may not run in two at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from loadtest import redis
from loadtest.effort import Effort
from loadtest.peers.brokered import OnRedis
from loadtest.tasks.dramatiq import make

ONE = ("--threads", "1")


class Queue(OnRedis):
    SHARE = 0.25
    READS = 0.25
    LACKS: ClassVar[list[str]] = [
        redis.LACKS,
        "messages of a dead worker come again after a heartbeat's timeout, 60 s by default, by maintenance at random",
        "no record of attempts, outcomes or changes of state; what failed for good is kept 7 days",
        "its time limit is an exception in the thread, which code outside Python does not see; no memory cap or"
        " budget; no fairness between sources",
    ]
    OFFERS: ClassVar[list[str]] = [
        "many machines, RabbitMQ, threads beside processes, rate limiters, pipelines and groups",
    ]

    def start(self) -> None:
        super().start()
        self._actors = make(self.broker())
        self._threads: Sequence[str] = ()

    def commands(self) -> Sequence[Sequence[str]]:
        workers = ("-m", "dramatiq", "loadtest.tasks.dramatiq:broker")
        return [(*workers, "--processes", str(self.count), *self._threads, "--skip-logging")]

    def put_noops(self, jobs: int) -> None:
        for n in range(jobs):
            self._actors.noop.send(n)

    def put_reads(self, tasks: Sequence[tuple[str, ...]]) -> None:
        for arguments in tasks:
            self._actors.read.send(*arguments)

    def read(self, folder: Path, warm: Path) -> Effort:
        self._threads = ONE
        return super().read(folder, warm)

    def left(self) -> int:
        return int(self.client.hlen("dramatiq:default.msgs"))

    def close(self) -> None:
        if hasattr(self, "_actors"):
            self._actors.broker.close()
        super().close()
