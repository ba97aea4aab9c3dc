"""What the dispatcher relies on: each launch back once, jobs told apart, stop, kill, drain."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from farm.core.job import Outcome, Stage
from farm.workers import proc
from farm.workers.pool import NoCell, Pool
from tests.support.wait import until
from tests.workers.conftest import Bench, living, noted


def test_a_launch_writes_its_jobs_in_turn(bench: Bench) -> None:
    launch_id = bench.launch("Sleeps", "a", "b", "c")
    finished = bench.wait(launch_id)
    assert [e.job_id for e in finished.endings] == [10_000 + launch_id + i for i in range(3)]
    assert [bench.lines(launch_id, e)[0]["key"] for e in finished.endings] == ["a", "b", "c"]
    assert {e.items for e in finished.endings} == {1}
    assert all(e.usage.memory_peak_bytes > 1 << 20 for e in finished.endings)


def test_discover_yields_units_and_a_listing(bench: Bench) -> None:
    launch_id = bench.launch("Noop", "", stage=Stage.DISCOVER, units=["x", "y"])
    [ending] = bench.wait(launch_id).endings
    lines = bench.lines(launch_id, ending)
    assert [line["type"] for line in lines] == ["UNIT", "UNIT", "LISTING"]


def test_a_large_launch_and_many_ends_come_through(bench: Bench) -> None:
    """More than a pipe holds, and more END lines than one read of the spool."""
    keys = [f"{i}-" + "k" * 1000 for i in range(1500)]
    found = bench.run("Noop", *keys)
    assert {e.outcome for e in found.values() if e} == {Outcome.SUCCEEDED}
    assert all(found.values())
    assert not list((bench.home / "scratch").glob("*.launch"))


def test_no_more_launches_than_cells(bench: Bench) -> None:
    ids = [bench.launch("Sleeps", "a", sleep_s=0.4) for _ in range(3)]
    with pytest.raises(NoCell):
        bench.launch("Noop", "b")
    assert {bench.wait(i).endings[0].outcome for i in ids} == {Outcome.SUCCEEDED}


def test_a_kill_gives_the_running_job_its_outcome(bench: Bench, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    launch_id = bench.launch("Hang", "good", "bad", "later", pids=str(pids))
    running = until(lambda: noted(pids))
    bench.pool.kill(launch_id, Outcome.CANCELLED, "not wanted any more")
    finished = bench.wait(launch_id)
    assert [e.outcome for e in finished.endings] == [Outcome.SUCCEEDED, Outcome.CANCELLED]
    assert finished.endings[1].message == "not wanted any more"
    assert finished.unstarted == (10_000 + launch_id + 2,)
    assert not living(running)


def test_a_job_cancelled_before_its_turn_is_left_out(bench: Bench) -> None:
    launch_id = bench.launch("Sleeps", "a", "b", "c", sleep_s=0.2)
    until(lambda: [f for f in bench.pool.facts() if f.launch_id == launch_id and f.job_id])
    bench.pool.kill(launch_id, Outcome.CANCELLED, "not this one", job_id=10_000 + launch_id + 1)
    finished = bench.wait(launch_id)
    outcomes = [e.outcome for e in finished.endings]
    assert outcomes == [Outcome.SUCCEEDED, Outcome.CANCELLED, Outcome.SUCCEEDED]
    assert finished.unstarted == ()


def test_a_job_cancelled_while_its_cell_is_built_is_left_out(bench: Bench) -> None:
    held = [bench.launch("Sleeps", "x", sleep_s=0.1) for _ in range(2)]
    launch_id = bench.launch("Sleeps", "a", "b")
    bench.pool.kill(launch_id, Outcome.CANCELLED, "not this one", job_id=10_000 + launch_id)
    outcomes = {e.job_id: e.outcome for e in bench.wait(launch_id).endings}
    assert outcomes[10_000 + launch_id] in (Outcome.CANCELLED, Outcome.SUCCEEDED)
    assert outcomes[10_000 + launch_id + 1] is Outcome.SUCCEEDED
    for other in held:
        bench.wait(other)


def test_asked_to_stop_a_polite_job_is_interrupted_and_the_rest_goes_back(bench: Bench) -> None:
    launch_id = bench.launch("Polite", "bad", "later")
    until(lambda: [f for f in bench.pool.facts() if f.launch_id == launch_id and f.job_id])
    bench.pool.ask_stop(launch_id)
    finished = bench.wait(launch_id, 5.0)
    assert [e.outcome for e in finished.endings] == [Outcome.INTERRUPTED]
    assert len(finished.unstarted) == 1


def test_drain_waits_for_the_polite_and_ends_the_rest(bench: Bench) -> None:
    polite, rude = bench.launch("Polite", "bad"), bench.launch("Hang", "bad")
    until(lambda: sum(f.job_id is not None for f in bench.pool.facts()) == 2)
    started = time.monotonic()
    bench.pool.drain(0.5)
    assert 0.5 <= time.monotonic() - started < 2.0
    assert bench.wait(polite).endings[0].message.startswith("it stopped early")
    [ending] = bench.wait(rude).endings
    assert (ending.outcome, ending.message) == (Outcome.INTERRUPTED, "the farm is stopping")


def test_facts_tell_what_runs(bench: Bench) -> None:
    launch_id = bench.launch("Hang", "bad", way="lively")
    facts = until(
        lambda: next((f for f in bench.pool.facts() if f.message == "still here" and f.memory_bytes), None)
    )
    assert facts.launch_id == launch_id
    assert facts.source == "bench"
    assert facts.state == "busy"
    assert facts.job_started is not None and facts.job_started <= time.monotonic()
    title = Path(f"/proc/{facts.pid}/cmdline").read_bytes().rstrip(b"\0").decode()
    assert title == f"farm: Hang job {facts.job_id}"
    bench.pool.kill(launch_id, Outcome.CANCELLED, "enough")
    bench.wait(launch_id)


def test_a_worker_is_nice_and_leaves_no_temporary_files(bench: Bench) -> None:
    launch_id = bench.launch("Hang", "bad", nice=7)
    facts = until(
        lambda: next((f for f in bench.pool.facts() if f.launch_id == launch_id and f.job_id), None)
    )
    assert os.getpriority(os.PRIO_PROCESS, facts.pid) == 7
    bench.pool.kill(launch_id, Outcome.CANCELLED, "enough")
    bench.wait(launch_id)
    until(lambda: len(list((bench.home / "scratch").iterdir())) == len(bench.pool.facts()))


def test_children_do_not_import_the_main_module(bench: Bench) -> None:
    [title] = {Path(f"/proc/{f.pid}/cmdline").read_bytes()[:11] for f in bench.pool.facts()[:1]}
    assert title == b"farm: cell "
    parent = proc.stat(bench.pool.facts()[0].pid)
    assert parent is not None
    assert b"nursery" in Path(f"/proc/{parent.parent}/cmdline").read_bytes()


def test_a_second_pool_in_a_process_is_refused(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="has a pool already"):
        Pool(tmp_path, cells=1, instance="x", wake=lambda: None).start()
