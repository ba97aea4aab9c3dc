"""The dispatcher: the farm's main loop, and the only writer of the ledger.

Everything that happens comes in through the inbox or is fetched by polling the pool and the lander; a tick
writes all of it in one transaction, together with the leases of what starts next. So one fsync serves
whatever arrived together, and nothing is acknowledged or started before it is on disk.

What a tick takes in stays at hand until its commit: where the disk is full, the transaction is as if it had
never begun, and is tried again with the reserve's room (`farm.reserve`), or later. Any other error of the
ledger or the store ends the farm: durability is in question.
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
from dataclasses import asdict, dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any, TypeVar, cast

from farm import shortage, spool, sqlite
from farm.core import breaker, fairness
from farm.core.admission import Budget
from farm.core.job import Ending, Event, Finished, JobSpec, Launch, Limits, Outcome, RunType, Stage
from farm.core.plan import Hold, Lane, Memory, Place, Running, View, plan
from farm.errors import DiskFull, NotPossible
from farm.lander import Entry, Lander
from farm.ledger.ledger import Ledger, NewJob
from farm.reserve import Reserve
from farm.settle import Settler
from farm.sources import Source
from farm.store.landing import Child, Landed, Landing
from farm.telemetry import Name, log
from farm.workers.pool import NoCell, Pool

T = TypeVar("T")

CHILDREN_AT_ONCE = 2_000
"""A listing's children are submitted in steps of so many, so that other work gets its turn between them."""
FIRST_CHILDREN = 256
"""The first step is short: cells work on it while the next is written."""
REPLAN_S = 1.0
"""How often a waiting lane is looked at again with nothing else happening: ageing and the budget move."""
LOOK_S = 5.0
"""While something is due some day, the wall clock is looked at this often: it may have been set."""
SET_BACK_S = 1.0
SAVE_S = 10.0
PRESSED_S = 0.5
"""How often the disk is looked at: as often as this while it is full."""
STUCK_LOOKS = 4
"""A farm that shall end and cannot write what is left gives up after so many looks at a full disk."""
PRESSED = "the disk is full: running jobs finish, nothing new is taken or started until there is room"
NO_CELL_S = (0.02, 5.0)
"""When no cell could be had, nothing is leased for so long: the first time, and at most."""


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
    started: float
    """On the monotonic clock: what it costs must not follow steps of the other one."""
    specs: dict[int, JobSpec]
    landing: set[int] = field(default_factory=set)
    """Jobs that ended and whose content is not yet settled."""
    over: bool = False


@dataclass(slots=True)
class Unfolding:
    """A listing that has landed and whose units are becoming jobs, step by step."""

    landed: Landed
    ending: Ending
    children: Iterator[Sequence[Child]]
    step: Sequence[Child] | None = None
    """Taken from `children`, and not yet committed."""
    over: bool = False


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
        reserve: Reserve | None = None,
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
        self._reserve = reserve
        self.pressed = False
        """The disk is full: what runs may end, nothing new is taken or started."""
        self.starved = False
        """Not even the last tick could be committed."""
        self._disk_read = -PRESSED_S
        self._stuck_looks = 0
        self._inbox: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._rung = False
        self._door = threading.Lock()
        self._thread = threading.get_ident()
        self._shut = False
        self._flights: dict[int, InFlight] = {}
        self._launch_of: dict[int, int] = {}
        self._unfolding: deque[Unfolding] = deque()
        self._intents: dict[int, tuple[Event, str]] = {}
        self._returned: list[Finished] = []
        self._landed: list[tuple[Landed, Ending]] = []
        self._leased: list[Launch] = []
        self._no_cell_s = 0.0
        self._no_cell_until = 0.0
        self._memory = Memory.since([source.virtual_s for source in sources.values()])
        self._budget = budget(0)
        self._budget_read = self._monotonic()
        self._seen_at = inf
        self._next_due: float | None = 0.0
        self._waiting = False
        self._saved = self._monotonic()
        self._saving = False
        """This tick writes what sources learned, too."""
        self._set_back = False
        """The wall clock was set back, and the ledger's dates are not yet."""
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
        if not self._rung:
            self._rung = True
            self._inbox.put(None)

    def stop(self, grace_s: float) -> None:
        """Start nothing more; running jobs have so long to finish, then they are interrupted."""
        at = self._monotonic() + grace_s
        if self._stop_at is None:
            self._stuck_looks = 0  # there may be room since the last look
        self._stop_at = at if self._stop_at is None else min(self._stop_at, at)
        self.wake()

    def adopt(self, launch: Launch, finished: Finished) -> None:
        """Before `run`: settle first what a farm that died had left to settle."""
        specs = {spec.job_id: spec for spec in launch.jobs}
        self._flights[launch.id] = InFlight(launch, 0, 0.0, self._monotonic(), specs)
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
        self._look_at_disk()
        if self._commit(requests):
            for request in requests:
                _tell(request)
            for launch in self._leased:
                self._start(launch)
            self._leased.clear()
            self._clear_spools()
        self._press_for_end()

    def _commit(self, requests: list[Request]) -> bool:
        """Write it all, on a full disk with the reserve's room; False when there is none for it even so."""
        for last_try in (self._reserve is None or not self._reserve.held, True):
            try:
                with self.ledger.transaction():
                    self._write(requests)
            except sqlite3.OperationalError as error:
                self._take_back()
                if self._reserve is None or not sqlite.is_full(error):
                    raise
                self._press()
                if last_try:
                    break
            else:
                self.starved = False
                self._let_go()
                return True
        self.starved = True
        for request in requests:
            request.error = DiskFull(self.ledger.path)
            _tell(request)
        return False

    def _write(self, requests: list[Request]) -> None:
        self._look_at_clock()
        for request in requests:
            self._perform(request)
        self._take_finished()
        self._settle_finished()
        self._take_landed()
        self._settle_landed()
        self._unfold()
        self._next_due = self.ledger.ripen(self.ledger.clock())
        self._place()
        for source in self.sources.values():
            source.keep_fuse(self.ledger)
        self._saving = self._monotonic() - self._saved > SAVE_S
        if self._saving:
            self._save()

    def _let_go(self) -> None:
        """After the commit: what was taken in, and what sources learned, is in the ledger now."""
        self._set_back = False
        for source in self.sources.values():
            source.fuse_is_kept()
            if self._saving:
                source.saved()
        if self._saving:
            self._saved = self._monotonic()
        for finished in self._returned:
            landing = self._flights[finished.launch_id].landing
            settled = [ending.job_id for ending in finished.endings if ending.job_id not in landing]
            self._forget(finished.launch_id, [*settled, *finished.unstarted])
        self._returned.clear()
        for _, ending in self._landed:
            launch_id = self._launch_of[ending.job_id]
            self._flights[launch_id].landing.discard(ending.job_id)
            self._forget(launch_id, [ending.job_id])
        self._landed.clear()
        if self._unfolding:
            self._unfolding[0].step = None
            if self._unfolding[0].over:
                self._unfolding.popleft()

    def _take_back(self) -> None:
        """The transaction did not happen, and so nothing was leased; what was taken in stays."""
        for launch in self._leased:
            del self._flights[launch.id]
            for spec in launch.jobs:
                del self._launch_of[spec.job_id]
        self._leased.clear()
        if self._unfolding and self._unfolding[0].over:
            self._unfolding[0].over = False
            self._landed.pop()

    def _forget(self, launch_id: int, job_ids: Sequence[int]) -> None:
        """These have ended; one that went back may have been leased again in the same tick."""
        for job_id in job_ids:
            if self._launch_of.get(job_id) == launch_id:
                del self._launch_of[job_id]
            self._intents.pop(job_id, None)

    # -- the inbox

    def patience_s(self) -> float | None:
        """How long nothing needs doing unless somebody rings."""
        if self.starved:
            return PRESSED_S
        if self._returned or (self._unfolding and not self.pressed):
            return 0.0
        waits: list[float] = []
        if self.pressed:
            waits.append(PRESSED_S)
        if (no_cell_s := self._no_cell_until - self._monotonic()) > 0:
            waits.append(no_cell_s)
        if self._next_due is not None:
            waits.append(min(LOOK_S, max(0.0, self._next_due - self.ledger.clock())))
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
            self._rung = False
            while True:
                entries.append(self._inbox.get_nowait())
        except queue.Empty:
            self._rung = False
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
            shortage.end_if_memory(error)
            request.error = error

    def _refuse_the_rest(self) -> None:
        with self._door:
            self._shut = True
        for request in self._take(0.0):
            request.error = NotPossible("the farm has stopped")
            _tell(request)

    # -- settle

    def _take_finished(self) -> None:
        for finished in self.pool.poll():
            self._returned.append(finished)
            if finished.endings:
                self._no_cell_s = 0.0
            elif self._stop_at is None:
                self._wait_for_cells()  # its cell never came to work

    def _wait_for_cells(self) -> None:
        """The machine gives no cell: lease nothing for a while, each time for longer."""
        least, most = NO_CELL_S
        self._no_cell_s = min(max(2 * self._no_cell_s, least), most)
        self._no_cell_until = self._monotonic() + self._no_cell_s

    def _settle_finished(self) -> None:
        succeeded: list[Ending] = []
        failed: list[Ending] = []
        for finished in self._returned:
            flight = self._flights[finished.launch_id]
            if not flight.over:
                flight.over = True
                self._charge(flight, finished)
                self._hear(flight.launch.source, finished.endings)
            for ending in finished.endings:
                if ending.outcome is not Outcome.SUCCEEDED:
                    failed.append(ending)
                elif self._has_content(flight, ending):
                    self._land(flight, ending)
                else:
                    succeeded.append(ending)
            self._give_back(flight, finished.unstarted)
        self.settler.succeeded(succeeded)
        self.settler.failed(failed, self._intents)

    def _land(self, flight: InFlight, ending: Ending) -> None:
        """Hand it to the lander, once; that the tick may be undone is no matter: landing comes before settling."""
        if ending.job_id not in flight.landing:
            flight.landing.add(ending.job_id)
            self.lander.put(self._entry(flight, ending))

    def _hear(self, name: str, endings: Sequence[Ending]) -> None:
        """A drain has to end: it counts attempts instead of waiting for a source, but for as long as was asked."""
        source = self.sources.get(name)
        for ending in endings:
            if source is not None and (not self._drain or ending.retry_after_s is not None):
                source.hear(ending, self.ledger.clock())

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

    def _take_landed(self) -> None:
        """What has landed can be settled; a listing unfolds first."""
        for result, ending in self.lander.poll():
            if result.malformed:
                log(Name.LINES_REJECTED, job=ending.job_id, lines=result.rejected, first=result.malformed[0])
            if result.children or result.complete:
                children = result.children.chunks(CHILDREN_AT_ONCE, FIRST_CHILDREN)
                self._unfolding.append(Unfolding(result, ending, children))
            else:
                self._landed.append((result, ending))

    def _unfold(self) -> None:
        """Submit the next children of a listing; it is done when its last child is submitted."""
        if not self._unfolding or self.pressed:
            return
        listing = self._unfolding[0]
        job = self.ledger.facts([listing.ending.job_id])[listing.ending.job_id]
        source = self.sources.get(job.source)
        if listing.step is None and source:
            listing.step = next(listing.children, None)
        if listing.step is not None and source:
            self.ledger.submit(
                job.run_id,
                job.source,
                [NewJob(Stage.EXTRACT, child.key, child.version, child.payload) for child in listing.step],
                max(int(source.settings.priority), job.priority),
                cause=f"listed by job {job.id}",
                listed=True,
            )
            return
        if listing.landed.complete:
            self.ledger.cancel_unlisted(job.source, listing.ending.attempt_id, listing.landed.unread)
        self._settle([(listing.landed, listing.ending)])
        self._landed.append((listing.landed, listing.ending))
        listing.over = True

    def _settle_landed(self) -> None:
        self._settle(self._landed)

    def _settle(self, landed: Sequence[tuple[Landed, Ending]]) -> None:
        """Counted with the success and not before: what lands again after a crash counts once."""
        self.settler.succeeded([ending for _, ending in landed])
        for result, ending in landed:
            self.ledger.count_documents(
                ending.job_id,
                new=result.new,
                changed=result.changed,
                deleted=result.deleted,
                unchanged=result.unchanged,
                rejected=result.rejected,
            )

    def _clear_spools(self) -> None:
        """After the commit: what is settled needs no spool."""
        for launch_id in [id_ for id_, flight in self._flights.items() if flight.over and not flight.landing]:
            del self._flights[launch_id]
            spool.path_of(self.home, launch_id).unlink(missing_ok=True)

    # -- plan and lease

    def _place(self) -> None:
        self._waiting = False
        if self._stop_at is not None or self.pressed or self._monotonic() < self._no_cell_until:
            return
        free = self._budget.cells - sum(not flight.over for flight in self._flights.values())
        if free <= 0:
            return
        made = plan(self.view(free), self.ledger.clock())
        self._memory = made.memory
        for step in made:
            if isinstance(step, Place):
                self._leased.append(self._lease(step))
            else:
                self._waiting = True

    def view(self, free: int) -> View:
        """The facts that a plan is made from."""
        lanes, now, monotonic = [], self.ledger.clock(), self._monotonic()
        for name, source in self.sources.items():
            profile = source.settings.profile
            most = profile.batch * min(free, profile.max_concurrent)
            heads = self.ledger.heads(name, most + 1)  # the one more shows that the lane still waits
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
                    started_at=now - (monotonic - flight.started),
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
            self._wait_for_cells()
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

    def _look_at_clock(self) -> None:
        """Was the wall clock set back, now or while no farm ran? Then nothing waits for what it said before."""
        now, before = self.ledger.clock(), self._seen_at
        self._seen_at = now
        if now < before - SET_BACK_S:
            self._set_back = True
            for source in self.sources.values():
                source.set_back(before, now)
            self._memory = replace(
                self._memory,
                held={job_id: min(since, now) for job_id, since in self._memory.held.items()},
                served_at=tuple(min(at, now) for at in self._memory.served_at),
            )
        if self._set_back:
            self.ledger.set_back(now)

    # -- a full disk

    def _look_at_disk(self) -> None:
        now = self._monotonic()
        if self._reserve is None or now - self._disk_read < PRESSED_S:
            return
        self._disk_read = now
        if not self.pressed:
            if self.lander.full or self._reserve.short():
                self._press()
        elif not self.lander.full and self._reserve.ample() and self._reserve.fill():
            self.pressed = False
            log(Name.FARM_RELIEVED, disk=self.home)
        self._stuck_looks = self._stuck_looks + 1 if self._is_stuck() else 0

    def _press(self) -> None:
        """Give up the reserve, finish what runs, and take nothing new until there is room."""
        assert self._reserve is not None
        self._reserve.release()
        if not self.pressed:
            self.pressed = True
            log(Name.FARM_PRESSED, disk=self.home, why=PRESSED)
        self.lander.try_again()

    def _save(self) -> None:
        for source in self.sources.values():
            source.save(self.ledger)

    # -- the end

    def done(self) -> bool:
        if self.lander.failure:
            raise self.lander.failure
        busy = bool(self._flights or self._unfolding or self._returned)
        if self._stuck_looks > STUCK_LOOKS and (self._drain or self._stop_at is not None):
            raise DiskFull(self.home)
        if self._stop_at is not None:
            return not busy
        return self._drain and not busy and self._inbox.empty() and not self._open_jobs()

    def _is_stuck(self) -> bool:
        """Nothing runs, and what is left cannot be written: without room the end never comes."""
        if not self.pressed or any(not flight.over for flight in self._flights.values()):
            return False
        landing = any(flight.landing for flight in self._flights.values())
        waits = self._drain and not landing and not self._returned
        return bool(self.starved or self.lander.full or self._unfolding or waits)

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
            "pressed": PRESSED if self.pressed else "",
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
        if self.pressed:
            return f"waits: {PRESSED}"
        for step in plan(self.view(self._budget.cells), self.ledger.clock()):
            if isinstance(step, Hold) and step.source == row[0]:
                return step.sentence
        return "it is next in line"


def _tell(request: Request) -> None:
    if request.error is not None:
        request.answer.set_exception(request.error)
    else:
        request.answer.set_result(request.result)
