"""What the pool costs: idle, per launch, per job. Bounds are wide; `-s` shows the figures."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import pytest

from tests.support.wait import until
from tests.workers.conftest import Bench


@pytest.fixture(scope="module")
def warm(bench: Bench) -> Bench:
    for _ in range(20):
        bench.run("Noop", "a")
    until(lambda: all(f.state == "idle" for f in bench.pool.facts()))
    return bench


def test_an_idle_pool_costs_under_one_percent_of_a_core(warm: Bench) -> None:
    time.sleep(0.3)
    cpu, wall = time.process_time(), time.monotonic()
    time.sleep(2.0)
    share = (time.process_time() - cpu) / (time.monotonic() - wall)
    print(f"idle: {share:.3%} of a core, {len(warm.pool.facts())} cells")  # noqa: T201
    assert share < 0.01


def test_a_warm_cell_reaches_the_connector_within_milliseconds(warm: Bench) -> None:
    delays = []
    for _ in range(200):
        launched = time.time()
        found = warm.run("Noop", "a")["a"]
        assert found is not None
        delays.append(found.started_at - launched)
    delays.sort()
    print(f"launch to job: median {delays[100] * 1e3:.2f} ms, p99 {delays[197] * 1e3:.2f} ms")  # noqa: T201
    assert statistics.median(delays) < 0.005
    assert delays[197] < 0.05


def test_a_job_that_does_nothing_costs_little(warm: Bench) -> None:
    keys = [str(i) for i in range(256)]
    best = 1e9
    for _ in range(20):
        started = time.perf_counter()
        launch_id = warm.launch("Noop", *keys)
        warm.wait(launch_id)
        best = min(best, time.perf_counter() - started)
    print(f"launches of 256: {256 / best:,.0f} jobs/s through one cell, {best / 256 * 1e6:.0f} us a job")  # noqa: T201
    assert 256 / best > 10_000


def test_a_new_cell_is_ready_soon(warm: Bench) -> None:
    def seconds(work: Callable[[], object]) -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    took = []
    for _ in range(5):
        warm.run("Crash", "bad", way="kill")
        until(lambda: [f for f in warm.pool.facts() if f.state == "idle"] == warm.pool.facts())
        took.append(seconds(lambda: warm.run("Noop", "a")))
        held = [warm.launch("Sleeps", "x", sleep_s=0.3) for _ in range(len(warm.pool.facts()))]
        took.append(seconds(lambda: warm.run("Noop", "a")))  # on a cell made for it
        for launch_id in held:
            warm.wait(launch_id)
    print(f"build, first job, answer: median {statistics.median(took) * 1e3:.0f} ms")  # noqa: T201
    assert statistics.median(took) < 0.5
