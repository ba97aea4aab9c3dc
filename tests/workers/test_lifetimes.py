"""Pools of their own: what a pool leaves behind, and what it does over time."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from farm.core.job import Ending, Outcome, Reason
from farm.workers import proc
from tests.support.wait import until
from tests.workers.conftest import Bench


def test_a_farm_that_was_stopped_blames_no_job_for_it(tmp_path: Path) -> None:
    """The whole farm, workers included, is stopped for longer than the deadline, and goes on."""
    bench = Bench(tmp_path, cells=1)
    stopper = 0
    try:
        launch_id = bench.launch("Sleeps", "a", sleep_s=0.6, timeout_s=1.0, stall_s=1.0)
        worker = until(lambda: next((f.pid for f in bench.pool.facts() if f.job_id), 0))
        stopper = os.fork()
        if stopper == 0:  # somebody outside stops us all, and lets us go
            farm = os.getppid()
            for pid in (farm, worker):
                os.kill(pid, signal.SIGSTOP)
            time.sleep(1.6)
            for pid in (worker, farm):
                os.kill(pid, signal.SIGCONT)
            os._exit(0)
        [ending] = bench.wait(launch_id).endings
        assert ending.outcome is Outcome.SUCCEEDED, ending
        assert ending.usage.wall_s > 1.5
    finally:
        if stopper:
            os.waitpid(stopper, 0)
        bench.pool.close()


def test_a_worker_stopped_while_idle_costs_no_job(tmp_path: Path) -> None:
    """A launch that its worker never begins comes back unharmed, and the cell is replaced."""
    bench = Bench(tmp_path, cells=1, begin_s=1.5)
    try:
        bench.run("Noop", "warm")
        os.kill(bench.pool.facts()[0].pid, signal.SIGSTOP)
        finished = bench.wait(bench.launch("Noop", "a", "b"))
        assert finished.endings == ()
        assert len(finished.unstarted) == 2
        assert bench.run("Noop", "a")["a"] is not None
    finally:
        bench.pool.close()


def test_flooded_items_end_at_the_spool_cap(tmp_path: Path) -> None:
    bench = Bench(tmp_path, cells=1, spool_max_bytes=8 << 20)
    try:
        ending = contained_alone(bench)
    finally:
        bench.pool.close()
    assert ending.outcome is Outcome.PERMANENT
    assert ending.reason is Reason.RESOURCE_EXHAUSTED
    assert "8,388,608 bytes" in ending.message


def contained_alone(bench: Bench) -> Ending:
    found = bench.run("Flood", "good", "bad")
    assert found["good"] is not None and found["good"].outcome is Outcome.SUCCEEDED
    assert found["bad"] is not None
    return found["bad"]


def test_secrets_reach_the_connector_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FARM_SECRET_TOKEN", "s3cret-value")
    bench = Bench(tmp_path, cells=1)
    try:
        ending = bench.run("Raises", "bad", way="secret")["bad"]
    finally:
        bench.pool.close()
    assert ending is not None and ending.evidence is not None
    assert ending.message == "refused: ***"
    assert "using ***" in ending.evidence.log
    assert "s3cret" not in ending.evidence.traceback


def test_a_pool_leaves_no_thread_no_descriptor_no_semaphore(tmp_path: Path) -> None:
    """After a hard life: segfaults, kills, retirements."""
    Bench(tmp_path / "first").pool.close()  # what is made once per process is there now
    before = held()
    bench = Bench(tmp_path / "second")
    try:
        for _ in range(3):
            bench.run("Crash", "bad")
            bench.run("Exit0", "bad")
            bench.run("Stop", "bad", timeout_s=0.1)
            bench.run("tests.support.broken_import:BrokenImport", "a")
        # The cells that died are taken apart while the pool goes on, not at its end.
        until(lambda: held()["threads"] <= before["threads"] + 6, 5.0, what="threads of dead cells are gone")
    finally:
        bench.pool.close()
    now = held()
    assert all(now[what] <= before[what] for what in before), (before, now)
    assert not list((tmp_path / "second" / "beat").iterdir())
    assert not list((tmp_path / "second" / "scratch").iterdir())


def held() -> dict[str, int]:
    """What this process holds."""
    return {
        "threads": threading.active_count(),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "semaphores": Path("/proc/self/maps").read_text().count("/dev/shm/"),
        "children": len(proc.children(os.getpid())),
    }


def test_idle_cells_retire_down_to_one(tmp_path: Path) -> None:
    bench = Bench(tmp_path, cells=3, idle_s=0.3)
    try:
        for launch_id in [bench.launch("Sleeps", "a", sleep_s=0.1) for _ in range(3)]:
            bench.wait(launch_id)
        assert len(bench.pool.facts()) == 3
        until(lambda: len(bench.pool.facts()) == 1, 3.0)
        time.sleep(0.5)
        assert len(bench.pool.facts()) == 1
    finally:
        bench.pool.close()


def test_a_killed_guard_is_replaced(tmp_path: Path) -> None:
    bench = Bench(tmp_path, cells=1)
    try:
        guard = bench.pool.guard_pid
        os.kill(guard, signal.SIGKILL)
        until(lambda: bench.pool.guard_pid not in (0, guard), 3.0)
    finally:
        bench.pool.close()


def test_a_killed_fork_server_loses_jobs_and_blames_none(tmp_path: Path) -> None:
    bench = Bench(tmp_path, cells=1)
    try:
        launch_id = bench.launch("Hang", "bad", "b")
        worker = until(lambda: next((f.pid for f in bench.pool.facts() if f.job_id), 0))
        server = int(Path(f"/proc/{worker}/stat").read_text().rsplit(")", 1)[1].split()[1])
        os.kill(server, signal.SIGKILL)
        finished = bench.wait(launch_id)
        assert [e.outcome for e in finished.endings] == [Outcome.LOST]
        assert bench.run("Noop", "a")["a"] is not None
    finally:
        bench.pool.close()


def test_a_fork_server_that_does_not_answer_is_replaced(tmp_path: Path) -> None:
    bench = Bench(tmp_path, cells=2, begin_s=1.5)
    try:
        bench.run("Noop", "warm")
        worker = bench.pool.facts()[0].pid
        held = bench.launch("Sleeps", "a", sleep_s=0.5)
        os.kill(int(Path(f"/proc/{worker}/stat").read_text().rsplit(")", 1)[1].split()[1]), signal.SIGSTOP)
        assert bench.wait(held).endings[0].outcome is Outcome.SUCCEEDED
        held = bench.launch("Sleeps", "a", sleep_s=0.2)
        stuck = bench.wait(bench.launch("Noop", "b"))
        assert stuck.endings == ()
        bench.wait(held)
        found = bench.run("Noop", "c")["c"]
        assert found is not None and found.outcome is Outcome.SUCCEEDED
    finally:
        bench.pool.close()


def test_workers_that_die_at_birth_are_not_made_for_ever(tmp_path: Path) -> None:
    bench = Bench(tmp_path, cells=1)
    scratch = tmp_path / "scratch"
    try:
        bench.run("Noop", "warm")
        scratch.rename(tmp_path / "aside")
        scratch.write_text("not a folder")
        os.kill(bench.pool.facts()[0].pid, signal.SIGKILL)
        until(lambda: not bench.pool.facts(), 5.0, what="no cell is made for nobody")
        time.sleep(0.5)
        assert not bench.pool.facts()
        for _ in range(5):
            finished = bench.wait(bench.launch("Noop", "a", "b"))
            if finished.endings:
                break
        assert [e.outcome for e in finished.endings] == [Outcome.CRASHED]
        assert len(finished.unstarted) == 1
        assert finished.endings[0].evidence is not None
        assert "scratch" in finished.endings[0].evidence.log
        scratch.unlink()
        (tmp_path / "aside").rename(scratch)
        found = bench.run("Noop", "c")["c"]
        assert found is not None and found.outcome is Outcome.SUCCEEDED
    finally:
        bench.pool.close()


def test_a_full_disk_costs_the_job_an_attempt_and_the_rest_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path, cells=1)
    try:
        launch_id = Bench.next_id
        (tmp_path / "spool" / f"{launch_id}.jsonl").symlink_to("/dev/full")
        assert bench.launch("Sleeps", "a", "b") == launch_id
        finished = bench.wait(launch_id)
        [ending] = finished.endings
        assert (ending.outcome, ending.reason) == (Outcome.TRANSIENT, Reason.RESOURCE_EXHAUSTED)
        assert "No space left on device" in ending.message
        assert len(finished.unstarted) == 1
    finally:
        bench.pool.close()
