"""A pool with real processes, and a bench to drive it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from farm.core.job import Ending, Finished, JobSpec, Launch, Limits, Stage
from farm.workers import proc
from farm.workers.pool import Pool

HERE = "tests.support.connectors"
LIMITS = Limits(timeout_s=20, stall_s=20, memory_bytes=512 * 1024 * 1024, nice=0)


class Bench:
    """Launches, and waits for what comes back."""

    next_id: ClassVar[int] = 1
    """The id of the next launch."""

    def __init__(self, home: Path, cells: int = 3, **settings: Any) -> None:
        self.home = home
        self.woken = threading.Event()
        self.over: dict[int, Finished] = {}
        self.over_at: dict[int, float] = {}
        self.pool = Pool(home, cells=cells, instance="bench", wake=self.woken.set, **settings)
        self.pool.start()

    def launch(
        self,
        connector: str,
        *keys: str,
        stage: Stage = Stage.EXTRACT,
        limits: Limits = LIMITS,
        **options: Any,
    ) -> int:
        """Start these units in one launch; returns its id. Words of `limits` may be given by name."""
        change = {k: options.pop(k) for k in ("timeout_s", "stall_s", "memory_bytes", "nice") if k in options}
        jobs = tuple(
            JobSpec(10_000 + n, n, stage, key, "1", payload="{}") for n, key in enumerate(keys, Bench.next_id)
        )
        Bench.next_id += len(keys)
        name = connector if ":" in connector else f"{HERE}:{connector}"
        launch = Launch(
            jobs[0].attempt_id, "bench", name, json.dumps(options), jobs, replace(limits, **change)
        )
        self.pool.launch(launch)
        return launch.id

    def wait(self, launch_id: int, timeout_s: float = 20.0) -> Finished:
        """The launch's end, by then."""
        deadline = time.monotonic() + timeout_s
        while launch_id not in self.over:
            self.woken.wait(0.05)
            self.woken.clear()
            for finished in self.pool.poll():
                assert finished.launch_id not in self.over, "a launch came back twice"
                self.over[finished.launch_id] = finished
                self.over_at[finished.launch_id] = time.monotonic()
            assert time.monotonic() < deadline, self.pool.facts()
        return self.over[launch_id]

    def run(self, connector: str, *keys: str, **options: Any) -> dict[str, Ending | None]:
        """Endings by key; None for what was never started."""
        launch_id = self.launch(connector, *keys, **options)
        finished = self.wait(launch_id)
        endings = {e.job_id: e for e in finished.endings}
        assert len(endings) + len(finished.unstarted) == len(keys)
        return {key: endings.get(10_000 + launch_id + i) for i, key in enumerate(keys)}

    def lines(self, launch_id: int, ending: Ending) -> list[dict[str, Any]]:
        """What the ending's content range of the spool holds."""
        raw = (self.home / "spool" / f"{launch_id}.jsonl").read_bytes()[ending.start : ending.end]
        return [json.loads(line) for line in raw.splitlines()]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    found = Bench(tmp_path_factory.mktemp("home"))
    yield found
    found.pool.close()


def noted(path: Path) -> list[int]:
    """The pids that a connector's processes wrote down."""
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def living(pids: list[int]) -> list[int]:
    return [pid for pid in pids if (s := proc.stat(pid)) is not None and not s.gone]
