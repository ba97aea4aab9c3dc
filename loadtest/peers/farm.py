"""The farm itself: jobs by its socket, no-ops in launches."""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar

from loadtest.farmhouse import Farmhouse, until

AT_ONCE = 5_000
PROFILE = {"cpu": 0.1, "memory": "64MB", "batch": 1024}


class Queue:
    LACKS: ClassVar[list[str]] = []

    def __init__(self, folder: Path, workers: int) -> None:
        source = {"connector": "loadtest.work:Work", "profile": {**PROFILE, "max_concurrent": workers}}
        self.farm = Farmhouse(folder / "home", {"farm": {"workers": workers}, "sources": {"noop": source}})

    def start(self) -> None:
        self.farm.__enter__()
        self.farm.ask("submit", source="noop", jobs=[{"key": f"warm-{i}"} for i in range(5_000)])
        until(lambda: self.farm.open_jobs() == 0, 60, "the cells are warm")
        self.farm.ask("pause_source", name="noop")

    def enqueue(self, jobs: int) -> float:
        began = time.perf_counter()
        for start in range(0, jobs, AT_ONCE):
            some = [{"key": f"noop-{i}"} for i in range(start, min(start + AT_ONCE, jobs))]
            self.farm.ask("submit", source="noop", jobs=some)
        return time.perf_counter() - began

    def work(self) -> float:
        jobs = self.farm.open_jobs()
        began = time.perf_counter()
        self.farm.ask("resume_source", name="noop")
        until(lambda: self.farm.open_jobs() == 0, 600, "all jobs are over", every_s=0.01)
        return jobs / (time.perf_counter() - began)

    def close(self) -> None:
        self.farm.stop()
