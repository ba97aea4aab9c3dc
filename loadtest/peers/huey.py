"""Huey: SqliteHuey with its defaults (WAL, SQLite's own synchronous=FULL), consumer with process workers."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import ClassVar

from loadtest.peers.brokered import Brokered
from loadtest.tasks.huey import make


class Queue(Brokered):
    SHARE = 0.25
    READS = 0.25
    STOP_BY = signal.SIGINT
    LACKS: ClassVar[list[str]] = [
        "a task is deleted when it is taken: one whose worker dies is lost",
        "no record of attempts, outcomes or changes of state",
        "its timeout is an exception in the process, which code outside Python does not see; no memory cap or budget;"
        " no fairness between sources",
    ]
    OFFERS: ClassVar[list[str]] = [
        "with Redis instead of SQLite it spans machines; threads and greenlets as workers; pipelines of tasks",
    ]

    def start(self) -> None:
        self._tasks = make(self.broker())

    def broker(self) -> str:
        return str(self.folder / "huey.db")

    def commands(self) -> Sequence[Sequence[str]]:
        consumer = ("-m", "huey.bin.huey_consumer", "loadtest.tasks.huey.queue")
        return [(*consumer, "-k", "process", "-w", str(self.count), "-q")]

    def put_noops(self, jobs: int) -> None:
        for n in range(jobs):
            self._tasks.noop(n)

    def put_reads(self, tasks: Sequence[tuple[str, ...]]) -> None:
        for arguments in tasks:
            self._tasks.read(*arguments)

    def left(self) -> int:
        with closing(sqlite3.connect(f"file:{self.broker()}?mode=ro", uri=True, timeout=60)) as db:
            return int(db.execute("SELECT count(*) FROM task").fetchone()[0])
