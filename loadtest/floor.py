"""Floor: what SQLite itself takes for the rows of a no-op job, and what of it each layer of the farm adds.

The same jobs, in launches and commits of the same size, into files of the same schema and settings:

- plain: sqlite3 and nothing else writes the rows that a durable, audited job needs. It looks for nothing and
  checks nothing: it knows which jobs come next, and that their ids have no gaps.
- ledger: `Ledger` and `Settler`, as the dispatcher calls them.
- dispatcher: the main thread of a real farm.
- farm: all threads of its process. The workers are not among them.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from farm.core.job import Ending, Outcome, RunType, Stage, Usage
from farm.ledger.jobs import NewJob
from farm.ledger.ledger import SCHEMA_VERSION, Ledger
from farm.ledger.queue import MESSAGE_SQL, PRIORITY_SQL
from farm.settle import Settler
from farm.sources import departed
from farm.sqlite import open_writer
from loadtest.effort import Effort, Work
from loadtest.farmhouse import until
from loadtest.figures import median
from loadtest.peers.farm import AT_ONCE, NOOPS, Queue

LAUNCH: int = NOOPS["batch"]
SOURCE = "noop"
USED = Usage(0.00001, 0.00001, 30 << 20)
LAYERS = {
    "plain": "the rows and commits alone, in plain sqlite3",
    "ledger": "looking at the heads, reading what is leased, grouping moves; values to and from Python",
    "dispatcher": "planning, launching, taking in, charging what was used; clearing spools",
    "farm": "other threads: sending launches, reading END lines, watching and weighing workers",
}
"""What each adds to the one before."""

Turn = Mapping[str, Work]


def measure(jobs: int, repetitions: int, say: Console) -> list[dict[str, Work]]:
    """All layers in turn, so that whatever else the machine does falls on all of them."""
    layers: tuple[Callable[[Path, int], Turn], ...] = (plain_turn, ledger_turn, farm_turn)
    turns: list[dict[str, Work]] = []
    for n in range(repetitions):
        turns.append({})
        for layer in layers if n % 2 == 0 else reversed(layers):
            with tempfile.TemporaryDirectory(prefix="loadtest-floor-") as folder:
                turns[-1] |= layer(Path(folder), jobs)
        said = ", ".join(f"{name} {turns[-1][name].cpu_us:.1f}" for name in LAYERS)
        say.print(f"{n + 1}/{repetitions}  CPU µs a job: {said}")
    return turns


def summary(turns: Sequence[Turn]) -> dict[str, Any]:
    """Medians and spread by layer; `more`: what it adds to the median of the one before.

    >>> turn = {name: Work(100, Effort(2.0, s)) for name, s in zip(LAYERS, (0.001, 0.0015, 0.0018, 0.002))}
    >>> found = summary([turn])
    >>> [round(found[name]["more_us"], 1) for name in LAYERS], round(found["farm"]["times_plain"], 1)
    ([10.0, 5.0, 3.0, 2.0], 2.0)
    """
    found: dict[str, Any] = {}
    before_us = 0.0
    for name in LAYERS:
        cpu_us = [turn[name].cpu_us for turn in turns]
        middle = median(cpu_us)
        found[name] = {
            "cpu_us": middle,
            "least_us": min(cpu_us),
            "most_us": max(cpu_us),
            "more_us": middle - before_us,
            "per_s": median([turn[name].rate for turn in turns]),
            "times_plain": middle / found["plain"]["cpu_us"] if found else 1.0,
        }
        before_us = middle
    return found


def show(found: Mapping[str, Any], console: Console) -> None:
    table = Table("layer", "CPU µs a job", "least", "most", "more", "jobs/s", "what it adds", box=box.SIMPLE)
    for name, what in LAYERS.items():
        row = found[name]
        figures = (f"{row[kind]:.1f}" for kind in ("cpu_us", "least_us", "most_us", "more_us"))
        table.add_row(name, *figures, f"{row['per_s']:,.0f}", what)
    console.print(table)
    plain, farm = found["plain"], found["farm"]
    console.print(
        f"farm process vs SQLite alone (no-op): {farm['times_plain']:.2f}x the CPU"
        f"  ({farm['cpu_us']:.1f} µs for {plain['cpu_us']:.1f} µs)",
        highlight=False,
    )


# -- the layers


def plain_turn(folder: Path, jobs: int) -> Turn:
    schema = resources.files("farm.ledger").joinpath("schema.sql").read_text()
    db = open_writer(folder / "ledger.db", schema, SCHEMA_VERSION, {})
    plain = Plain(db)
    plain.enqueue(jobs)
    found = timed(jobs, lambda: plain.work(jobs, LAUNCH))
    db.close()
    return {"plain": found}


def ledger_turn(folder: Path, jobs: int) -> Turn:
    ledger = Ledger.open(folder / "ledger.db")
    enqueue(ledger, jobs)
    found = timed(jobs, lambda: work(ledger, LAUNCH))
    ledger.close()
    return {"ledger": found}


def farm_turn(folder: Path, jobs: int) -> Turn:
    queue = Queue(folder, workers=2)
    try:
        queue.enqueue(jobs)
        farm = queue.farm
        assert farm is not None
        main_s, all_s, began = _spent(farm.process)
        farm.ask("resume_source", name=SOURCE)
        until(lambda: farm.open_jobs() == 0, 600, "all jobs are over", every_s=0.05)
        main_after_s, all_after_s, ended = _spent(farm.process)
    finally:
        queue.close()
    wall_s = ended - began
    return {
        "dispatcher": Work(jobs, Effort(wall_s, main_after_s - main_s)),
        "farm": Work(jobs, Effort(wall_s, all_after_s - all_s)),
    }


def _spent(process: Any) -> tuple[float, float, float]:
    """CPU seconds of its main thread and of all its threads; the clock."""
    main_s = next(t.user_time + t.system_time for t in process.threads() if t.id == process.pid)
    times = process.cpu_times()
    return main_s, times.user + times.system, time.perf_counter()


def timed(jobs: int, act: Callable[[], None]) -> Work:
    wall, cpu = time.perf_counter(), time.thread_time()
    act()
    return Work(jobs, Effort(time.perf_counter() - wall, time.thread_time() - cpu))


class Plain:
    """The rows of jobs that succeed at once. Attempts have the ids of their jobs."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db

    def enqueue(self, jobs: int) -> None:
        now = time.time()
        for first, last in _spans(jobs, AT_ONCE):
            self.db.execute("BEGIN IMMEDIATE")
            if first == 1:
                self.db.execute(
                    "INSERT INTO run (source, type, state, trigger, requested_at)"
                    " VALUES (?, 'event', 'queued', 'submit', ?)",
                    (SOURCE, now),
                )
            self.db.executemany(
                "INSERT INTO job (id, run_id, source, stage, key, state, priority, created_at, updated_at)"
                " VALUES (?1, 1, ?2, 'extract', ?3, 'pending', 1, ?4, ?4)",
                [(i, SOURCE, f"unit-{i}", now) for i in range(first, last + 1)],
            )
            self.db.execute(
                "INSERT INTO task (id, queue, data, priority, waiting_since)"
                f" SELECT job.id, job.source, CAST({MESSAGE_SQL} AS BLOB), {PRIORITY_SQL}, ?"
                " FROM job CROSS JOIN run ON run.id = job.run_id WHERE job.id BETWEEN ? AND ?",
                (now, first, last),
            )
            self._note(None, "pending", "submit", first, last, now)
            self.db.execute("COMMIT")

    def work(self, jobs: int, launch: int) -> None:
        """Settle a launch and lease the next one in one commit."""
        before: tuple[int, int] | None = None
        for span in (*_spans(jobs, launch), None):
            self.db.execute("BEGIN IMMEDIATE")
            if before is not None:
                self._settle(*before)
            if span is not None:
                self._lease(*span)
            if before is None or span is None:
                state, over_at = ("running", None) if span else ("succeeded", time.time())
                self.db.execute("UPDATE run SET state = ?, finished_at = ?", (state, over_at))
            self.db.execute("COMMIT")
            before = span

    def _lease(self, first: int, last: int) -> None:
        now = time.time()
        self.db.execute(
            "UPDATE job SET state = 'running', updated_at = ?, number = number + 1 WHERE id BETWEEN ? AND ?",
            (now, first, last),
        )
        self.db.execute(
            "INSERT INTO attempt (id, job_id, number, launch_id, cpu, memory_bytes, started_at)"
            " SELECT id, id, number, ?1, 0.1, 67108864, ?3 FROM job WHERE id BETWEEN ?1 AND ?2",
            (first, last, now),
        )
        self.db.execute("UPDATE task SET lease = id WHERE id BETWEEN ? AND ?", (first, last))
        self._note("pending", "running", "lease", first, last, now)

    def _settle(self, first: int, last: int) -> None:
        now = time.time()
        self.db.executemany(
            "UPDATE attempt SET ended_at = ?, outcome = 'succeeded', wall_s = ?, cpu_s = ?,"
            " memory_peak_bytes = ?, started_at = ? WHERE id = ?",
            [(now, USED.wall_s, USED.cpu_s, USED.memory_peak_bytes, now, i) for i in range(first, last + 1)],
        )
        self.db.execute(
            "UPDATE job SET state = 'succeeded', outcome = 'succeeded', attempts = attempts + 1,"
            " updated_at = ?1, finished_at = ?1 WHERE id BETWEEN ?2 AND ?3",
            (now, first, last),
        )
        self.db.execute("DELETE FROM task WHERE id BETWEEN ? AND ?", (first, last))
        self._note("running", "succeeded", "succeed", first, last, now)

    def _note(self, was: str | None, to: str, event: str, first: int, last: int, now: float) -> None:
        """Transitions, and how many jobs rest where."""
        self.db.execute(
            "INSERT INTO transition (job_id, from_state, to_state, event, cause, actor, at)"
            " SELECT id, ?, ?, ?, '', 'farm', ? FROM job WHERE id BETWEEN ? AND ?",
            (was, to, event, now, first, last),
        )
        n = last - first + 1
        for state, more in ((was, -n), (to, n)):
            if state is not None:
                self.db.execute(
                    "INSERT INTO tally (run_id, state, n) VALUES (1, ?, ?)"
                    " ON CONFLICT (run_id, state) DO UPDATE SET n = n + excluded.n",
                    (state, more),
                )


def enqueue(ledger: Ledger, jobs: int) -> None:
    with ledger.transaction():
        run = ledger.runs.create(SOURCE, RunType.EVENT, "submit")
    assert run is not None
    for first, last in _spans(jobs, AT_ONCE):
        with ledger.transaction():
            new = [NewJob(Stage.EXTRACT, f"unit-{i}") for i in range(first, last + 1)]
            ledger.jobs.submit(run, SOURCE, new, 1)


def work(ledger: Ledger, launch: int) -> None:
    """As the dispatcher does it: settle a launch and lease the next one in one commit."""
    settler = Settler(ledger, departed, lambda: 0.5)
    endings: list[Ending] = []
    while True:
        with ledger.transaction():
            settler.succeeded(endings)
            heads = ledger.tickets.heads(SOURCE, launch)
            ids = [head.job_id for head in heads]
            specs = ledger.attempts.lease(ids, cpu=0.1, memory_bytes=1 << 26) if ids else []
        if not specs:
            return
        now = time.time()
        endings = [
            Ending(s.job_id, s.attempt_id, Outcome.SUCCEEDED, started_at=now, usage=USED) for s in specs
        ]


def _spans(jobs: int, size: int) -> Iterator[tuple[int, int]]:
    """First and last id of each group of so many.

    >>> list(_spans(5, 2))
    [(1, 2), (3, 4), (5, 5)]
    """
    return ((first, min(first + size - 1, jobs)) for first in range(1, jobs + 1, size))
