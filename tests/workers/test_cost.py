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
    for _ in range(3):  # a machine that is busy otherwise gets another chance
        delays = []
        for _ in range(200):
            launched = time.time()
            found = warm.run("Noop", "a")["a"]
            assert found is not None
            delays.append(found.started_at - launched)
        delays.sort()
        print(f"launch to job: median {delays[100] * 1e3:.2f} ms, p99 {delays[197] * 1e3:.2f} ms")  # noqa: T201
        if delays[100] < 0.005 and delays[197] < 0.05:
            return
    raise AssertionError(f"median {delays[100]} s, p99 {delays[197]} s")


@pytest.mark.parametrize(("connector", "most_us"), [("Noop", 60), ("Page", 100)])
def test_a_job_that_does_little_costs_little(warm: Bench, connector: str, most_us: float) -> None:
    """Judged by CPU time, which other work on the machine does not add to."""
    keys = [str(i) for i in range(256)]
    warm.run(connector, *keys)
    fastest, farm_s, jobs_s = 1e9, time.process_time(), 0.0
    for _ in range(20):
        started = time.perf_counter()
        finished = warm.wait(warm.launch(connector, *keys))
        fastest = min(fastest, time.perf_counter() - started)
        jobs_s += sum(e.usage.cpu_s for e in finished.endings)
    farm_s = time.process_time() - farm_s
    farm_us, jobs_us = farm_s / 20 / 256 * 1e6, jobs_s / 20 / 256 * 1e6
    print(  # noqa: T201
        f"{connector}, launches of 256: {256 / fastest:,.0f} jobs/s through one cell; "
        f"a job costs {jobs_us:.0f} us in its worker, {farm_us:.0f} us in the farm"
    )
    assert jobs_us < most_us
    assert farm_us < 100


def test_the_jobs_of_a_launch_account_for_what_their_worker_used(warm: Bench) -> None:
    """What lies between two jobs counts, too: only taking the launch and giving the answer are nobody's."""
    keys = [str(i) for i in range(2000)]
    pid = next(e.pid for e in warm.run("Noop", *keys).values() if e)
    clock = (~pid << 3) | 2  # the CPU time of that process, as clock_getcpuclockid(3) has it
    used_s, began = time.clock_gettime(clock), time.monotonic()
    ended = [e for e in warm.run("Noop", *keys).values() if e]
    used_s, took_s = time.clock_gettime(clock) - used_s, time.monotonic() - began
    assert {e.pid for e in ended} == {pid}
    assert 0.8 * used_s < sum(e.usage.cpu_s for e in ended) < 1.01 * used_s
    assert sum(e.usage.wall_s for e in ended) < took_s


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
