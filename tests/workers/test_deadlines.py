"""Deadlines end a whole tree at once, count only waking time, and delay nobody else."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from farm.core.job import Outcome
from tests.support.wait import until
from tests.workers.conftest import Bench, living, noted


def test_a_deaf_tree_is_gone_within_half_a_second_of_its_deadline(bench: Bench, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    bench.run("Noop", "warm")
    deaf = bench.launch("Deaf", "bad", pids=str(pids), timeout_s=0.8)
    launched = time.monotonic()
    steady = bench.launch("Sleeps", *[f"s{i}" for i in range(80)], sleep_s=0.02)
    # its worker, child, grandchild, double fork, and two programs in sessions of their own
    tree = until(lambda: len(found := noted(pids)) >= 6 and found, 5.0)
    assert len(living(tree)) == 6
    until(lambda: not living(tree), launched + 0.8 + 0.5 - time.monotonic(), every_s=0.005)
    [ending] = bench.wait(deaf).endings
    assert ending.outcome is Outcome.TIMED_OUT
    assert ending.signal == signal.SIGKILL
    assert 0.8 <= ending.usage.wall_s < 1.3
    # Other jobs ran all the while: none took 50 ms more than it should.
    others = bench.wait(steady)
    assert len(others.endings) == 80
    # Against the worst of the same jobs when nobody was being killed: this machine has its own delays.
    ended_at = ending.started_at + 0.8
    delays = {True: 0.0, False: 0.0}
    for before, job in zip(others.endings, others.endings[1:], strict=False):
        delay = job.started_at + job.usage.wall_s - 0.02 - (before.started_at + before.usage.wall_s)
        meanwhile = ended_at - 0.05 < job.started_at < ended_at + 0.5
        delays[meanwhile] = max(delays[meanwhile], delay)
    assert delays[True] < delays[False] + 0.05, delays


def test_each_job_of_a_launch_has_the_whole_time(bench: Bench) -> None:
    found = bench.run("Sleeps", "a", "b", "c", "d", sleep_s=0.6, timeout_s=2.0, stall_s=1.6)
    assert {e.outcome for e in found.values() if e} == {Outcome.SUCCEEDED}


def test_a_worker_killed_while_idle_is_replaced(bench: Bench) -> None:
    bench.run("Noop", "warm")
    before = {cell.pid for cell in bench.pool.facts()}
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until(lambda: (now := {c.pid for c in bench.pool.facts()}) and not now & (before | {0}), 5.0)
    assert bench.run("Noop", "a")["a"] is not None
