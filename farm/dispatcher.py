"""The dispatcher: the farm's main loop, and the only writer of the ledger.

Everything that happens comes in through the inbox or is fetched by polling the pool and the lander; a tick
writes all of it in one transaction, together with the leases of what starts next. So one fsync serves
whatever arrived together, and nothing is acknowledged or started before it is on disk.
"""

from __future__ import annotations

import json
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from farm import spool
from farm.core import breaker, fairness
from farm.core.admission import Budget
from farm.core.job import Ending, Event, Finished, JobSpec, Launch, Limits, Outcome, RunType, Stage
from farm.core.plan import Hold, Lane, Memory, Place, Running, View, plan
from farm.errors import NotPossible
from farm.lander import Entry, Lander
from farm.ledger.ledger import Ledger, NewJob
from farm.settle import Settler
from farm.sources import Source
from farm.store.landing import Child, Landed, Landing
from farm.telemetry import Name, log
from farm.workers.pool import NoCell, Pool

T = TypeVar("T")

CHILDREN_AT_ONCE = 2_000
"""A listing's children are submitted in steps of so many, so that other work gets its turn between them."""
LANE_HEADS = 1_024
REPLAN_S = 1.0
"""How often a waiting lane is looked at again with nothing else happening: ageing and the budget move."""
SAVE_S = 10.0


@dataclass(slots=True)
class Request:
    """Something another thread wants done in the ledger's transaction, and its answer."""

    act: Callable[[], Any]
    answer: Future[Any] = field(default_factory=Future)
    result: Any = None
    error: Exception | None = None


@dataclass(slots=True)
class InFlight:
    """A launch from its lease to the settling of its last job."""

    launch: Launch
    memory_bytes: int
    cost_s: float
    """What the plan expects it to cost, in farm seconds."""
    started_at: float
    started: float
    """The same moment on the monotonic clock, for what it really cost."""
    specs: dict[int, JobSpec]
    landing: set[int] = field(default_factory=set)
    """Jobs that ended and whose content is not yet settled."""
    over: bool = False


@dataclass(frozen=True, slots=True)
class Unfolding:
    """A listing that has landed and whose units are becoming jobs, step by step."""

    ending: Ending
    children: Iterator[Sequence[Child]]
    complete: bool


class Dispatcher:
    """`run` is the main thread's; `call`, `wake` and `stop` are for everybody."""

    def __init__(
        self,
        ledger: Ledger,
        pool: Pool,
        lander: Lander,
        settler: Settler,
        sources: dict[str, Source],
        *,
        home: Path,
        budget: Callable[[int], Budget],
        cursor_of: Callable[[str], Any],
        drain: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ledger = ledger
        self.pool = pool
        self.lander = lander
        self.settler = settler
        self.sources = sources
        self.home = home
        self._read_budget = budget
        self._cursor_of = cursor_of
        self._drain = drain
        self._monotonic = monotonic
        self._inbox: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._rung = threading.Event()
        self._door = threading.Lock()
        self._thread = threading.get_ident()
        self._shut = False
        self._flights: dict[int, InFlight] = {}
        self._launch_of: dict[int, int] = {}
        self._unfolding: deque[Unfolding] = deque()
        self._intents: dict[int, tuple[Event, str]] = {}
        self._returned: list[Finished] = []
        self._memory = Memory.since([source.virtual_s for source in sources.values()])
        self._budget = budget(0)
        self._budget_read = self._monotonic()
        self._next_due: float | None = 0.0
        self._waiting = False
        self._saved = self._monotonic()
        self._stop_at: float | None = None
        self._interrupted = False

    # -- for other threads

    def call(self, act: Callable[[], T]) -> T:
        """Do this inside the ledger's transaction; returns once it is on disk. Raises what it raised."""
        if threading.get_ident() == self._thread:
            with self.ledger.joined():
                return act()
        request = Request(act)
        with self._door:
            if self._shut:
                raise NotPossible("the farm has stopped")
            self._inbox.put(request)
        return cast(T, request.answer.result())

    def wake(self) -> None:
        """Something may have changed."""
        if not self._rung.is_set():
            self._rung.set()
            self._inbox.put(None)

    def stop(self, grace_s: float) -> None:
        """Start nothing more; running jobs have so long to finish, then they are interrupted."""
        at = self._monotonic() + grace_s
        self._stop_at = at if self._stop_at is None else min(self._stop_at, at)
        self.wake()

    def adopt(self, launch: Launch, finished: Finished) -> None:
        """Before `run`: settle first what a farm that died had left to settle."""
        specs = {spec.job_id: spec for spec in launch.jobs}
        now = self.ledger.clock()
        self._flights[launch.id] = InFlight(launch, 0, 0.0, now, self._monotonic(), specs)
        self._launch_of.update((job_id, launch.id) for job_id in specs)
        self._returned.append(finished)

    # -- the loop

    def run(self) -> None:
        """Tick until stopped, or drained. An error of the ledger or the store ends it: both are fail-stop."""
        try:
            while not self.done():
                self.tick(self._take(self.patience_s()))
            with self.ledger.transaction():
                self._save()
        finally:
            self._refuse_the_rest()

    def tick(self, requests: list[Request]) -> None:
        """Everything that has happened, in one transaction; then what it allows to start."""
        self._look_at_machine()
        with self.ledger.transaction():
            for request in requests:
                self._perform(request)
            self._settle_finished(self._take_finished())
            self._settle_landed(self.lander.poll())
            self._unfold()
            self._next_due = self.ledger.ripen(self.ledger.clock())
            launches = self._place()
            if self._monotonic() - self._saved > SAVE_S:
                self._save()
        for request in requests:
            _tell(request)
        for launch in launches:
            self._start(launch)
        self._clear_spools()
        self._press_for_end()

    # -- the inbox

    def patience_s(self) -> float | None:
        """How long nothing needs doing unless somebody rings."""
        if self._unfolding or self._returned:
            return 0.0
        waits: list[float] = []
        if self._next_due is not None:
            waits.append(max(0.0, self._next_due - self.ledger.clock()))
        if self._waiting:
            waits.append(REPLAN_S)
        if self._stop_at is not None:
            waits.append(0.05)
        return min(waits, default=None)

    def _take(self, patience_s: float | None) -> list[Request]:
        entries: list[Request | None] = []
        try:
            entries.append(
                self._inbox.get(timeout=patience_s) if patience_s != 0.0 else self._inbox.get_nowait()
            )
            self._rung.clear()
            while True:
                entries.append(self._inbox.get_nowait())
        except queue.Empty:
            self._rung.clear()
        return [entry for entry in entries if entry is not None]

    def _perform(self, request: Request) -> None:
        """A request that fails fails alone; only the ledger's own errors are the farm's."""
        try:
            with self.ledger.savepoint():
                request.result = request.act()
        except sqlite3.DatabaseError as error:
            if not isinstance(error, sqlite3.IntegrityError):
                raise
            request.error = error
        except Exception as error:  # noqa: BLE001 - handed to the one who asked
            request.error = error

    def _refuse_the_rest(self) -> None:
        with self._door:
            self._shut = True
        for request in self._take(0.0):
            request.error = NotPossible("the farm has stopped")
            _tell(request)

    # -- settle

    def _take_finished(self) -> list[Finished]:
        finished, self._returned = self._returned + self.pool.poll(), []
        return finished

    def _settle_finished(self, finished: Sequence[Finished]) -> None:
        succeeded: list[Ending] = []
        failed: list[Ending] = []
        for launch in finished:
            flight = self._flights[launch.launch_id]
            self._charge(flight, launch)
            for ending in launch.endings:
                self._hear(flight.launch.source, ending)
                if ending.outcome is not Outcome.SUCCEEDED:
                    failed.append(ending)
                elif self._has_content(flight, ending):
                    flight.landing.add(ending.job_id)
                    self.lander.put(self._entry(flight, ending))
                else:
                    succeeded.append(ending)
            self._give_back(flight, launch.unstarted)
            flight.over = True
        self.settler.succeeded(succeeded)
        self.settler.failed(failed, self._intents)
        for ending in (*succeeded, *failed):
            self._forget(ending.job_id)

    def _hear(self, name: str, ending: Ending) -> None:
        """A drain has to end: it counts attempts instead of waiting for a source, but for as long as was asked."""
        source = self.sources.get(name)
        if source is not None and (not self._drain or ending.retry_after_s is not None):
            source.hear(self.ledger, ending)

    def resting_until(self, name: str) -> float | None:
        """When the open breaker of this source tries again."""
        source = self.sources.get(name)
        return source.resting_until(self.ledger.clock()) if source else None

    def _has_content(self, flight: InFlight, ending: Ending) -> bool:
        """A job with neither content nor a version to note has nothing to land."""
        spec = flight.specs[ending.job_id]
        return ending.items > 0 or spec.stage is Stage.DISCOVER or bool(spec.version)

    def _entry(self, flight: InFlight, ending: Ending) -> Entry:
        spec, path = flight.specs[ending.job_id], spool.path_of(self.home, flight.launch.id)
        payload = json.loads(spec.payload) or {}
        landing = Landing(
            source=flight.launch.source,
            job_id=ending.job_id,
            attempt_id=ending.attempt_id,
            stage=spec.stage,
            key=spec.key,
            version=spec.version,
            uri=payload.get("uri", ""),
            started_at=ending.started_at,
            lines=spool.read(path, ending.start, ending.end),
            run_type=RunType(payload.get("type", RunType.INCREMENTAL)),
        )
        return Entry(landing, ending, path)

    def _give_back(self, flight: InFlight, job_ids: Sequence[int]) -> None:
        """What was leased and never started goes back unharmed, unless an operator wanted it ended."""
        if not job_ids:
            return
        self.settler.failed(
            [
                Ending(i, flight.specs[i].attempt_id, Outcome.INTERRUPTED, message="was not started")
                for i in job_ids
            ],
            self._intents,
        )
        for job_id in job_ids:
            self._forget(job_id)

    def _settle_landed(self, landed: Sequence[tuple[Landed, Ending]]) -> None:
        succeeded = []
        for result, ending in landed:
            self.ledger.count_documents(
                ending.job_id,
                new=result.new,
                changed=result.changed,
                deleted=result.deleted,
                unchanged=result.unchanged,
                rejected=result.rejected,
            )
            if result.malformed:
                log(Name.LINES_REJECTED, job=ending.job_id, lines=result.rejected, first=result.malformed[0])
            if result.children or result.complete:
                self._unfolding.append(
                    Unfolding(ending, result.children.chunks(CHILDREN_AT_ONCE), result.complete)
                )
            else:
                succeeded.append(ending)
        self._done_landing(succeeded)

    def _unfold(self) -> None:
        """Submit the next children of a listing; it is done when its last child is submitted."""
        if not self._unfolding:
            return
        listing = self._unfolding[0]
        job = self.ledger.facts([listing.ending.job_id])[listing.ending.job_id]
        source = self.sources.get(job.source)
        batch = next(listing.children, None) if source else None
        if batch is not None and source:
            self.ledger.submit(
                job.run_id,
                job.source,
                [NewJob(Stage.EXTRACT, child.key, child.version, child.payload) for child in batch],
                max(int(source.settings.priority), job.priority),
                cause=f"listed by job {job.id}",
                listed_at=self.ledger.clock(),
            )
            return
        if listing.complete:
            self.ledger.cancel_unlisted(job.source, listing.ending.started_at)
        self._unfolding.popleft()
        self._done_landing([listing.ending])

    def _done_landing(self, endings: Sequence[Ending]) -> None:
        self.settler.succeeded(endings)
        for ending in endings:
            self._flights[self._launch_of[ending.job_id]].landing.discard(ending.job_id)
            self._forget(ending.job_id)

    def _forget(self, job_id: int) -> None:
        self._launch_of.pop(job_id, None)
        self._intents.pop(job_id, None)

    def _clear_spools(self) -> None:
        """After the commit: what is settled needs no spool."""
        for launch_id in [id_ for id_, flight in self._flights.items() if flight.over and not flight.landing]:
            del self._flights[launch_id]
            spool.path_of(self.home, launch_id).unlink(missing_ok=True)

    # -- plan and lease

    def _place(self) -> list[Launch]:
        self._waiting = False
        if self._stop_at is not None:
            return []
        free = self._budget.cells - sum(not flight.over for flight in self._flights.values())
        if free <= 0:
            return []
        launches = []
        made = plan(self.view(free), self.ledger.clock())
        self._memory = made.memory
        for step in made:
            if isinstance(step, Place):
                launches.append(self._lease(step))
            else:
                self._waiting = True
        return launches

    def view(self, free: int) -> View:
        """The facts that a plan is made from."""
        lanes = []
        now = self.ledger.clock()
        for name, source in self.sources.items():
            profile = source.settings.profile
            heads = self.ledger.heads(name, min(LANE_HEADS, profile.batch * (free + 1)))
            if heads:
                lanes.append(
                    Lane(
                        source=name,
                        connector=source.settings.connector,
                        weight=source.settings.weight,
                        virtual_s=source.virtual_s,
                        paused=source.paused,
                        blocked=breaker.sentence(source.fuse, now),
                        trial=source.on_trial(now),
                        heads=heads,
                        ready=len(heads),
                        profile=profile,
                        reservation=source.reservations,
                    )
                )
        return View(
            lanes=lanes,
            budget=self._budget,
            running=[
                Running(
                    source=flight.launch.source,
                    connector=flight.launch.connector,
                    cpu=flight.launch.cpu,
                    memory_bytes=flight.memory_bytes,
                    started_at=flight.started_at,
                    cost_s=flight.cost_s,
                )
                for flight in self._flights.values()
                if not flight.over
            ],
            accepting=self._stop_at is None,
            memory=self._memory,
        )

    def _lease(self, place: Place) -> Launch:
        source = self.sources[place.source]
        source.virtual_s = place.virtual_s
        settings = source.settings
        specs = self.ledger.lease(place.job_ids, cpu=place.cpu, memory_bytes=place.memory_bytes)
        if place.stage is Stage.DISCOVER:
            specs = [self._with_cursor(place.source, spec) for spec in specs]
        launch = Launch(
            id=specs[0].attempt_id,
            source=place.source,
            connector=settings.connector,
            options=settings.options_json,
            jobs=tuple(specs),
            limits=Limits(
                timeout_s=settings.profile.timeout_s,
                stall_s=settings.profile.stall_s,
                memory_bytes=place.cap_bytes,
                nice=settings.profile.nice,
                requests_per_s=settings.requests_per_s,
                burst=settings.burst,
            ),
            cpu=place.cpu,
        )
        self._flights[launch.id] = InFlight(
            launch,
            place.memory_bytes,
            place.cost_s,
            self.ledger.clock(),
            self._monotonic(),
            {spec.job_id: spec for spec in specs},
        )
        self._launch_of.update((spec.job_id, launch.id) for spec in specs)
        return launch

    def _with_cursor(self, source: str, spec: JobSpec) -> JobSpec:
        asked = json.loads(spec.payload) or {}
        anew = asked.get("type") in (RunType.FULL, RunType.REPLAY)
        asked["cursor"] = None if anew else self._cursor_of(source)
        return JobSpec(spec.job_id, spec.attempt_id, spec.stage, spec.key, spec.version, json.dumps(asked))

    def _start(self, launch: Launch) -> None:
        try:
            self.pool.launch(launch)
        except NoCell:
            self._returned.append(Finished(launch.id, -1, (), tuple(spec.job_id for spec in launch.jobs)))

    # -- measure

    def _charge(self, flight: InFlight, finished: Finished) -> None:
        """The source is charged what it really held; its next reservation follows from what was measured."""
        source = self.sources.get(flight.launch.source)
        if source is None:
            return
        wall_s = self._monotonic() - flight.started
        cost_s = fairness.cost_s(wall_s, flight.launch.cpu, flight.memory_bytes, self._budget)
        source.virtual_s = fairness.charged(source.virtual_s, cost_s, source.settings.weight)
        source.served_s += cost_s
        source.measured(flight.launch.jobs[0].stage, finished.endings)

    def _look_at_machine(self) -> None:
        now = self._monotonic()
        if now - self._budget_read > 2.0 and (self._flights or self._waiting):
            held = sum(flight.memory_bytes for flight in self._flights.values() if not flight.over)
            self._budget, self._budget_read = self._read_budget(held), now

    def _save(self) -> None:
        self._saved = self._monotonic()
        for source in self.sources.values():
            source.save(self.ledger)

    # -- the end

    def done(self) -> bool:
        if self.lander.failure:
            raise self.lander.failure
        busy = bool(self._flights or self._unfolding or self._returned)
        if self._stop_at is not None:
            return not busy
        return self._drain and not busy and self._inbox.empty() and not self._open_jobs()

    def _open_jobs(self) -> int:
        """Jobs that a drain waits for: of sources that are in farm.toml and not paused."""
        active = [name for name, source in self.sources.items() if not source.paused]
        row = self.ledger.connection.execute(
            "SELECT coalesce(sum(n), 0) FROM total WHERE state IN ('pending', 'running', 'retrying')"
            " AND source IN (SELECT value FROM json_each(?))",
            (json.dumps(active),),
        ).fetchone()
        return int(row[0])

    def _press_for_end(self) -> None:
        """While stopping: ask the running to stop, and interrupt them when the grace is over."""
        if self._stop_at is None:
            return
        self.pool.ask_stop(None)
        if self._monotonic() >= self._stop_at and not self._interrupted:
            self._interrupted = True
            for flight in self._flights.values():
                if not flight.over:
                    self.pool.kill(flight.launch.id, Outcome.INTERRUPTED, "the farm stopped")

    # -- what operations ask of a running farm

    def interrupt(self, job_id: int, event: Event, actor: str) -> bool:
        """End a running job for an operator; False when it has ended and is landing."""
        flight = self._flights.get(self._launch_of.get(job_id, 0))
        if flight is None or flight.over:
            return False
        self._intents[job_id] = (event, actor)
        outcome = Outcome.CANCELLED if event is Event.CANCEL else Outcome.INTERRUPTED
        self.pool.kill(flight.launch.id, outcome, f"{event} by {actor}", job_id)
        return True

    def status(self) -> dict[str, Any]:
        """What runs, what it may take, and what waits for what."""
        running = [flight for flight in self._flights.values() if not flight.over]
        holds = [step for step in plan(self.view(1), self.ledger.clock()) if isinstance(step, Hold)]
        return {
            "stopping": self._stop_at is not None,
            "cells": [asdict(cell) for cell in self.pool.facts()],
            "budget": {
                **asdict(self._budget),
                "cpu_held": sum(flight.launch.cpu for flight in running),
                "memory_held_bytes": sum(flight.memory_bytes for flight in running),
                "cells_held": len(running),
            },
            "holds": [asdict(hold) for hold in holds],
            "landing": sum(len(flight.landing) for flight in self._flights.values()),
        }

    def hold(self, job_id: int) -> str:
        """Why a waiting job waits, by a plan made now."""
        row = self.ledger.connection.execute(
            "SELECT queue, due_at, lease FROM task WHERE id = ?", (job_id,)
        ).fetchone()
        if row is None or row[1] is not None or row[2] is not None:
            return ""
        if row[0] not in self.sources:
            return f"its source {row[0]} is not in farm.toml any more"
        for step in plan(self.view(self._budget.cells), self.ledger.clock()):
            if isinstance(step, Hold) and step.source == row[0]:
                return step.sentence
        return "it is next in line"


def _tell(request: Request) -> None:
    if request.error is not None:
        request.answer.set_exception(request.error)
    else:
        request.answer.set_result(request.result)
