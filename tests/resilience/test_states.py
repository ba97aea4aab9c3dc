"""The life of a job on the real ledger: every pair of state and event, and long random lives against a model."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from farm import home as homes
from farm import spool
from farm.core.job import Ending, Event, Outcome, Priority, RunType, Stage, State
from farm.core.lifecycle import TRANSITIONS, IllegalTransition
from farm.core.profile import Profile
from farm.core.retry import RetryPolicy, Strategy
from farm.doctor.ledger import RULES
from farm.ledger.jobs import NewJob
from farm.ledger.ledger import Ledger
from farm.operations import Operations
from farm.recovery import recover
from farm.settings import SourceSettings
from farm.settle import Settler
from farm.workers.spool import End
from tests.resilience.many import fast_folder

EXAMPLES = int(os.environ.get("FARM_STATE_EXAMPLES", "50"))
SOURCE = "notes"
POLICY = RetryPolicy(
    max_attempts=3, max_deaths=2, max_losses=3, strategy=Strategy.FIXED, base_s=10.0, jitter=0.0
)
SETTINGS = SourceSettings(
    SOURCE, "noop", None, None, "UTC", False, None, Priority.NORMAL, 1.0, "{}", Profile(), POLICY
)


def assert_sound(connection: sqlite3.Connection) -> None:
    for check, sql in RULES:
        broken = connection.execute(f"{sql} LIMIT 3").fetchall()
        assert not broken, f"{check}: {broken}"


# -- every pair

PATHS: dict[State | None, tuple[Event, ...]] = {
    None: (),
    State.PENDING: (Event.SUBMIT,),
    State.RUNNING: (Event.SUBMIT, Event.LEASE),
    State.FAILED: (Event.SUBMIT, Event.LEASE, Event.FAIL),
    State.RETRYING: (Event.SUBMIT, Event.LEASE, Event.FAIL, Event.RETRY),
    State.QUARANTINED: (Event.SUBMIT, Event.LEASE, Event.FAIL, Event.QUARANTINE),
    State.PAUSED: (Event.SUBMIT, Event.PAUSE),
    State.SUCCEEDED: (Event.SUBMIT, Event.LEASE, Event.SUCCEED),
    State.CANCELLED: (Event.SUBMIT, Event.CANCEL),
}
"""How a job gets to a state."""


class Taken(Exception):
    """Ends a transaction without a commit."""


def apply(ledger: Ledger, run_id: int, job_id: int, event: Event) -> None:
    """This event, as the farm applies it: with the ticket, the lease and the attempt that go with it."""
    if event is Event.SUBMIT:
        n = ledger.jobs.submit(run_id, SOURCE, [NewJob(Stage.EXTRACT, "unit", "1")], 1)
        if not n:
            raise IllegalTransition(None, event)
    elif event is Event.LEASE:
        ledger.attempts.lease([job_id], cpu=1.0, memory_bytes=1)
    else:
        extra: dict[str, Any] = {"reason": "unknown"} if event is Event.QUARANTINE else {}
        if event is Event.RETRY:
            state = ledger.jobs.facts([job_id])[job_id].state if ledger.jobs.facts([job_id]) else None
            extra = {"due_at": ledger.clock() + 10} if state is State.FAILED else {}
        ledger.jobs.move([job_id], event, **extra)
    outcome = next(
        (o for o in Outcome if o == {"succeed": "succeeded", "fail": "transient"}.get(event)), None
    )
    if outcome or (event not in (Event.LEASE, Event.SUBMIT) and _leaves_running(ledger, job_id)):
        _close(ledger, job_id, outcome or Outcome.INTERRUPTED)


def _leaves_running(ledger: Ledger, job_id: int) -> bool:
    open_attempt = "SELECT 1 FROM attempt WHERE job_id = ? AND outcome IS NULL"
    return ledger.connection.execute(open_attempt, (job_id,)).fetchone() is not None


def _close(ledger: Ledger, job_id: int, outcome: Outcome) -> None:
    (attempt_id,) = ledger.connection.execute(
        "SELECT max(id) FROM attempt WHERE job_id = ?", (job_id,)
    ).fetchone()
    ledger.attempts.close([Ending(job_id, attempt_id, outcome)])


def dump(connection: sqlite3.Connection) -> list[str]:
    return list(connection.iterdump())


@pytest.mark.parametrize("event", list(Event), ids=str)
@pytest.mark.parametrize("state", list(PATHS), ids=lambda state: str(state or "new"))
def test_every_pair_of_state_and_event_moves_as_the_table_says_or_changes_nothing(
    tmp_path: Path, state: State | None, event: Event
) -> None:
    ledger = Ledger.open(tmp_path / "ledger.db", clock=lambda: 1000.0)
    try:
        with ledger.transaction():
            run_id = ledger.runs.create(SOURCE, RunType.FULL, "manual")
            assert run_id is not None
        target = TRANSITIONS[state].get(event)
        passing = State.FAILED in (state, target)  # never at rest: only inside a transaction
        before = dump(ledger.connection)
        try:
            with ledger.transaction():
                for step in PATHS[state]:
                    apply(ledger, run_id, 1, step)
                if not passing:
                    assert_sound(ledger.connection)
                reached = dump(ledger.connection)
                if state is None and event is not Event.SUBMIT:
                    assert ledger.jobs.facts([1]) == {}
                    with pytest.raises(IllegalTransition):
                        apply(ledger, run_id, 1, event) if event is Event.LEASE else _nobody(ledger, event)
                    raise Taken
                if target is None:
                    if event is Event.SUBMIT and state in (State.SUCCEEDED, State.CANCELLED):
                        raise Taken  # a new job, which is another one
                    with pytest.raises(IllegalTransition), ledger.savepoint():
                        apply(ledger, run_id, 1, event)
                    assert dump(ledger.connection) == reached
                    raise Taken
                apply(ledger, run_id, 1, event)
                assert ledger.jobs.facts([1])[1].state is target
                if target is State.FAILED:
                    raise Taken
        except Taken:
            assert dump(ledger.connection) == before
        else:
            assert_sound(ledger.connection)
    finally:
        ledger.close()


def _nobody(ledger: Ledger, event: Event) -> None:
    """An event for a job that does not exist moves nobody."""
    assert ledger.jobs.move([1], event) == []
    raise IllegalTransition(None, event)


# -- long lives


@dataclass
class Job:
    """The model: all that should matter about a job."""

    id: int
    key: str
    version: str
    state: str = "pending"
    attempts: int = 0
    deaths: int = 0
    losses: int = 0
    due_at: float = 0.0
    discarded: bool = False

    @property
    def finished(self) -> bool:
        return self.state in ("succeeded", "cancelled")

    def end(self, outcome: Outcome, now: float) -> None:
        """What the policy of this test makes of an attempt."""
        if outcome is Outcome.SUCCEEDED:
            self.attempts += 1
            self.state = "succeeded"
            return
        if outcome in (Outcome.CRASHED, Outcome.STALLED, Outcome.OUT_OF_MEMORY):
            self.deaths += 1
            given_up = self.deaths >= 2
        elif outcome is Outcome.LOST:
            self.losses += 1
            self.state = "quarantined" if self.losses >= 3 else "pending"
            return
        elif outcome in (Outcome.PERMANENT, Outcome.INVALID_INPUT):
            self.attempts += 1
            given_up = True
        else:
            self.attempts += 1
            given_up = self.attempts >= 3
        self.state = "quarantined" if given_up else "retrying"
        self.due_at = now + 10.0


FAILING = [
    Outcome.TRANSIENT, Outcome.RATE_LIMITED, Outcome.PERMANENT, Outcome.INVALID_INPUT, Outcome.DEPENDENCY,
    Outcome.TIMED_OUT, Outcome.STALLED, Outcome.OUT_OF_MEMORY, Outcome.CRASHED,
]  # fmt: skip


ENDS = [None, Outcome.SUCCEEDED, Outcome.TRANSIENT, Outcome.TRANSIENT, Outcome.CRASHED, *FAILING]


class Lives(RuleBasedStateMachine):
    """Jobs of one source, on a ledger in a file, with everything that a farm and its operators do to them."""

    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        logging.getLogger("farm.events").setLevel(logging.CRITICAL)
        self.home = Path(tempfile.mkdtemp(dir=fast_folder(), prefix="farm-states-"))
        homes.prepare(self.home)
        self.now = 1_000_000.0
        self.model: dict[int, Job] = {}
        self.intents: dict[int, tuple[Event, str]] = {}
        self._open()

    def _open(self) -> None:
        self.ledger = Ledger.open(self.home / homes.LEDGER, clock=lambda: self.now)
        self.settler = Settler(self.ledger, lambda _: SETTINGS, lambda: 0.0)
        self.operations = Operations(self.ledger, {SOURCE: SETTINGS}, self)

    # -- work

    @rule(target=jobs, key=st.sampled_from("abc"), version=st.sampled_from(["", "1", "2"]))
    def submit(self, key: str, version: str) -> int:
        twins = [j for j in self.model.values() if (j.key, j.version) == (key, version)]
        known = next((j for j in twins if not j.finished), None)
        refused = version != "" and any(j.discarded for j in twins)
        with self.ledger.transaction():
            given = self.operations.perform(
                "submit", {"source": SOURCE, "jobs": [{"key": key, "version": version}]}, "client"
            )
        assert given["new"] == (0 if known or refused else 1)
        if known:
            return known.id
        if refused:
            return twins[0].id
        (job_id,) = self.ledger.connection.execute("SELECT max(id) FROM job").fetchone()
        for older in self.model.values():
            if version and older.key == key and not older.finished and older.state != "running":
                older.state = "cancelled"
        self.model[job_id] = Job(job_id, key, version)
        return int(job_id)

    @precondition(lambda self: any(job.state in ("pending", "retrying") for job in self.model.values()))
    @rule(most=st.integers(1, 4), ends=st.lists(st.sampled_from(ENDS), min_size=4, max_size=4))
    def run(self, most: int, ends: list[Outcome | None]) -> None:
        """Wait until something is ready, start the first ones, and see them end; or not yet (None)."""
        waiting = [job for job in self.model.values() if job.state == "retrying"]
        if not any(map(self._is_ready, self.model.values())):
            self.now = min(job.due_at for job in waiting)
        with self.ledger.transaction():
            self.ledger.tickets.ripen(self.now)
            heads = self.ledger.tickets.heads(SOURCE, 100)
            ready = {j.id for j in self.model.values() if self._is_ready(j)}
            assert {ticket.job_id for ticket in heads} == ready
            ids = [ticket.job_id for ticket in heads[:most]]
            self.ledger.attempts.lease(ids, cpu=1.0, memory_bytes=1)
            for id_ in ids:
                self.model[id_].state = "running"
        for id_, outcome in zip(ids, ends, strict=False):
            if outcome is not None:
                self._end(self.model[id_], outcome)

    def _is_ready(self, job: Job) -> bool:
        return job.state == "pending" or (job.state == "retrying" and job.due_at <= self.now)

    def _running(self) -> list[Job]:
        return [job for job in self.model.values() if job.state == "running"]

    @precondition(lambda self: self._running())
    @rule(nth=st.integers(0, 3), outcome=st.sampled_from([Outcome.SUCCEEDED, *FAILING]))
    def end(self, nth: int, outcome: Outcome) -> None:
        self._end(self._running()[nth % len(self._running())], outcome)

    def _end(self, job: Job, outcome: Outcome) -> None:
        with self.ledger.transaction():
            if outcome is Outcome.SUCCEEDED:
                self.settler.succeeded([self._ending(job.id, outcome)])
            else:
                self.settler.failed([self._ending(job.id, outcome)])
        job.end(outcome, self.now)

    def _ending(self, id_: int, outcome: Outcome) -> Ending:
        row = "SELECT id FROM attempt WHERE job_id = ? AND outcome IS NULL"
        (attempt_id,) = self.ledger.connection.execute(row, (id_,)).fetchone()
        return Ending(id_, attempt_id, outcome, message=f"it {outcome}")

    # -- operators

    def interrupt(self, job_id: int, event: Event, actor: str) -> bool:
        self.intents[job_id] = (event, actor)
        return True

    def hold(self, job_id: int) -> str:
        return ""

    def purge(self, source: str) -> None:
        raise NotImplementedError

    def forget_usage(self, source: str) -> None:
        raise NotImplementedError

    def _ask(self, op: str, id_: int) -> None:
        with self.ledger.transaction():
            self.operations.perform(op, {"ids": [id_]}, "operator")
        if self.intents:  # a running job: the pool ends it, and it is settled as it was wanted
            outcome = Outcome.CANCELLED if op == "cancel_jobs" else Outcome.INTERRUPTED
            with self.ledger.transaction():
                self.settler.failed([self._ending(id_, outcome)], self.intents)
            self.intents = {}

    @precondition(lambda self: self.model)
    @rule(id_=jobs, act=st.sampled_from(["pause", "resume", "cancel", "retry", "retry", "discard"]))
    def operate(self, id_: int, act: str) -> None:
        job = self.model[id_]
        self._ask(f"{act}_jobs", id_)
        match act:
            case "pause" if job.state in ("pending", "retrying", "running"):
                job.state = "paused"
            case "resume" if job.state == "paused":
                job.state = "pending"
            case "cancel" if not job.finished:
                job.discarded = job.state == "quarantined"
                job.state = "cancelled"
            case "retry" if job.state in ("quarantined", "retrying"):
                job.state, job.attempts, job.deaths, job.losses = "pending", 0, 0, 0
            case "discard" if job.state == "quarantined":
                job.state, job.discarded = "cancelled", True

    @precondition(lambda self: any(job.state == "quarantined" for job in self.model.values()))
    @rule()
    def retry_all(self) -> None:
        with self.ledger.transaction():
            self.operations.perform("retry_jobs", {"all": True}, "operator")
        for job in self.model.values():
            if job.state in ("quarantined", "retrying"):
                job.state, job.attempts, job.deaths, job.losses = "pending", 0, 0, 0

    # -- faults

    @rule(midway=st.booleans(), ended=st.sampled_from([None, Outcome.SUCCEEDED, Outcome.TRANSIENT]))
    def kill(self, midway: bool, ended: Outcome | None) -> None:
        """The farm dies, maybe inside a transaction; one of its jobs may have ended, as its spool says."""
        running = self._running()
        if running and ended:
            self._write_end(running[0].id, ended)
        if midway:
            self.ledger.connection.execute("BEGIN IMMEDIATE")
            self.ledger.jobs.move([j.id for j in self.model.values() if j.state == "pending"], Event.CANCEL)
        # What a kill leaves: the files as they are, the write-ahead log among them.
        left = self.home.with_name(self.home.name + "-left")
        shutil.copytree(self.home, left)
        self.ledger.connection.close()
        shutil.rmtree(self.home)
        left.rename(self.home)
        self._open()
        salvaged = recover(self.ledger, self.settler, self.home, lambda _attempts: set())
        for item in salvaged:
            with self.ledger.transaction():
                for ending in item.finished.endings:
                    if ending.outcome is Outcome.SUCCEEDED:
                        self.settler.succeeded([ending])
                    else:
                        self.settler.failed([ending])
        for job in running:
            if ended and job is running[0]:
                job.end(ended, self.now)
            else:
                job.end(Outcome.LOST, self.now)

    def _write_end(self, id_: int, outcome: Outcome) -> None:
        row = "SELECT id, launch_id FROM attempt WHERE job_id = ? AND outcome IS NULL"
        attempt_id, launch_id = self.ledger.connection.execute(row, (id_,)).fetchone()
        end = End(job=id_, attempt=attempt_id, outcome=outcome)
        with spool.path_of(self.home, launch_id).open("ab") as file:
            file.write(msgspec.json.encode(end) + b'\n{"type":"EN')

    @rule()
    def restart(self) -> None:
        """An orderly end: what runs is interrupted and costs nothing."""
        running = self._running()
        with self.ledger.transaction():
            self.settler.failed([self._ending(job.id, Outcome.INTERRUPTED) for job in running])
        for job in running:
            job.state = "pending"
        self.ledger.close()
        self._open()
        assert recover(self.ledger, self.settler, self.home, lambda _attempts: set()) == []

    @rule(seconds=st.sampled_from([0.5, 11.0, 11.0, 3600.0, -3600.0, 3e8, -3e8]))
    def clock_step(self, seconds: float) -> None:
        self.now += seconds

    # -- what always holds

    @invariant()
    def the_ledger_is_as_the_model(self) -> None:
        rows = self.ledger.connection.execute(
            "SELECT id, state, attempts, deaths, losses FROM job"
        ).fetchall()
        assert rows == [(j.id, j.state, j.attempts, j.deaths, j.losses) for j in self.model.values()]

    @invariant()
    def the_ledger_is_sound(self) -> None:
        assert_sound(self.ledger.connection)

    @invariant()
    def huey_sees_the_same_queue(self) -> None:
        lane = self.ledger.lane(SOURCE)
        states = [job.state for job in self.model.values()]
        waiting = states.count("pending") + states.count("retrying")
        assert len(lane) + lane.scheduled_count() == waiting

    def teardown(self) -> None:
        logging.getLogger("farm.events").setLevel(logging.NOTSET)
        self.ledger.close()
        shutil.rmtree(self.home, ignore_errors=True)


Lives.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
TestLives = pytest.mark.timeout(3600)(Lives.TestCase)
