"""Celery: prefork workers, acknowledged late, on Redis; prefetching many, as its guide advises for short tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from loadtest import redis
from loadtest.peers.brokered import OnRedis
from loadtest.tasks.celery import make

PREFETCH = 64
"""For tasks that take no time; those that read documents keep the default of 4."""


class Queue(OnRedis):
    SHARE = 0.1
    READS = 0.25
    LACKS: ClassVar[list[str]] = [
        redis.LACKS,
        "tasks whose whole worker was killed come again after the visibility timeout, an hour by default",
        "no record of attempts or changes of state unless a result backend and events are added",
        "time limits are off by default and end the pool's child, not what it started; no memory budget, no"
        " fairness between sources",
    ]
    OFFERS: ClassVar[list[str]] = [
        "many machines, RabbitMQ and other brokers, workflows (chains, groups, chords), result backends, monitors",
    ]

    def start(self) -> None:
        super().start()
        self._app = make(str(self.redis.socket))
        self._prefetch = 4

    def broker(self) -> str:
        return str(self.redis.socket)

    def commands(self) -> Sequence[Sequence[str]]:
        worker = ("-m", "celery", "-A", "loadtest.tasks.celery", "worker", "-P", "prefork")
        return [
            (*worker, "-c", str(self.count), "--prefetch-multiplier", str(self._prefetch), "-l", "WARNING")
        ]

    def put_noops(self, jobs: int) -> None:
        self._prefetch = PREFETCH
        noop = self._app.tasks["noop"]
        for n in range(jobs):
            noop.delay(n)

    def put_reads(self, tasks: Sequence[tuple[str, ...]]) -> None:
        read = self._app.tasks["read"]
        for arguments in tasks:
            read.delay(*arguments)

    def left(self) -> int:
        waiting, taken = self.client.llen("celery"), self.client.hlen("unacked")
        return int(waiting) + int(taken)

    def close(self) -> None:
        if hasattr(self, "_app"):
            self._app.close()
        super().close()
