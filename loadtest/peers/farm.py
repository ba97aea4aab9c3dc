"""The farm itself: no-ops by its socket in launches, documents by the connector that reads folders."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, ClassVar

from loadtest.effort import Effort, Work, measured
from loadtest.farmhouse import Farmhouse, until
from loadtest.reading import SOURCE

AT_ONCE = 5_000
NOOPS: dict[str, Any] = {"cpu": 0.1, "memory": "64MB", "batch": 4096}
LEVEL = {"nice": 0}
"""As its peers have it: by default the farm's workers step back behind other programs."""


class Queue:
    SHARE = 1.0
    READS = 1.0
    LACKS: ClassVar[list[str]] = ["one machine, Linux, one farm for each state folder"]
    OFFERS: ClassVar[list[str]] = []

    def __init__(self, folder: Path, workers: int) -> None:
        self.home = folder / "home"
        self.workers = workers
        self.store = self.home / "store.db"
        self.farm: Farmhouse | None = None

    def start(self) -> None:
        """It has nothing that runs before it knows its sources."""

    def enqueue(self, jobs: int) -> float:
        source = {"connector": "loadtest.work:Work", "profile": {**NOOPS, "max_concurrent": self.workers}}
        farm = self._begin({"noop": source})
        farm.ask("submit", source="noop", jobs=[{"key": f"warm-{i}"} for i in range(5_000)])
        until(lambda: farm.open_jobs() == 0, 60, "the cells are warm")
        farm.ask("pause_source", name="noop")
        began = time.perf_counter()
        for start in range(0, jobs, AT_ONCE):
            some = [{"key": f"noop-{i}"} for i in range(start, min(start + AT_ONCE, jobs))]
            farm.ask("submit", source="noop", jobs=some)
        return time.perf_counter() - began

    def work(self) -> Work:
        assert self.farm is not None
        farm, jobs = self.farm, self.farm.open_jobs()
        with measured() as effort:
            farm.ask("resume_source", name="noop")
            until(lambda: farm.open_jobs() == 0, 600, "all jobs are over")
        return Work(jobs, effort)

    def read(self, folder: Path, warm: Path) -> Effort:
        sources: dict[str, object] = {
            name: {"connector": "local_files", "options": {"path": str(path)}, "profile": LEVEL}
            for name, path in (("warm", warm), (SOURCE, folder))
        }
        farm = self._begin(sources)
        self._run(farm, "warm")
        with measured() as effort:
            self._run(farm, SOURCE)
        return effort

    def _begin(self, sources: dict[str, object]) -> Farmhouse:
        self.farm = Farmhouse(self.home, {"farm": {"workers": self.workers}, "sources": sources})
        return self.farm.__enter__()

    def _run(self, farm: Farmhouse, source: str) -> None:
        """Have it pulled in; back when the run is over, so that everything has landed and is indexed."""
        run_id = farm.ask("run", source=source)["run_id"]
        state = (
            "SELECT state FROM run WHERE id = ? AND state IN ('succeeded', 'partial', 'failed', 'cancelled')"
        )
        over = until(lambda: farm.ledger().execute(state, (run_id,)).fetchone(), 600, f"{source} is read")
        if over[0] != "succeeded":
            raise RuntimeError(f"the run of {source} ended as {over[0]}")

    def close(self) -> None:
        if self.farm is not None:
            self.farm.stop()
