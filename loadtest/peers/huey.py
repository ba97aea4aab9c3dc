"""Huey: SqliteHuey with its defaults (WAL, SQLite's own synchronous=FULL), consumer with process workers."""

from __future__ import annotations

import importlib.util
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

from loadtest.farmhouse import until

TASKS = """\
from huey import SqliteHuey

huey = SqliteHuey(filename={path!r})


@huey.task()
def noop(n):
    return None
"""


class Queue:
    LACKS: ClassVar[list[str]] = [
        "a task is deleted when it is taken: one whose worker dies is lost",
        "no record of attempts, outcomes or changes of state",
        "no deadline, memory cap or budget; no fairness between sources",
    ]

    def __init__(self, folder: Path, workers: int) -> None:
        self.folder = folder
        self.workers = workers
        self.path = folder / "huey.db"
        (folder / "huey_tasks.py").write_text(TASKS.format(path=str(self.path)))
        self._consumer: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        spec = importlib.util.spec_from_file_location("huey_tasks", self.folder / "huey_tasks.py")
        assert spec is not None
        assert spec.loader is not None
        self._tasks: Any = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self._tasks)

    def enqueue(self, jobs: int) -> float:
        began = time.perf_counter()
        for n in range(jobs):
            self._tasks.noop(n)
        return time.perf_counter() - began

    def work(self) -> float:
        """From the first task that is seen to be gone until none is left."""
        reader = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, isolation_level=None)

        def left() -> int:
            return int(reader.execute("SELECT count(*) FROM task").fetchone()[0])

        whole = left()
        self._consumer = subprocess.Popen(
            [
                *(sys.executable, "-m", "huey.bin.huey_consumer", "huey_tasks.huey"),
                *("-k", "process", "-w", str(self.workers), "-q"),
            ],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.folder)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(lambda: left() < whole, 60, "the consumer has begun", every_s=0.002)
        began, first = time.perf_counter(), left()
        until(lambda: left() == 0, 120, "all tasks are done")
        seconds = time.perf_counter() - began
        reader.close()
        return first / seconds

    def close(self) -> None:
        if self._consumer is not None and self._consumer.poll() is None:
            self._consumer.send_signal(signal.SIGINT)
            try:
                self._consumer.wait(10)
            except subprocess.TimeoutExpired:
                self._consumer.kill()
                self._consumer.wait()
