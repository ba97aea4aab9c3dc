"""Stand-ins for what the decision side acts on: time, cells and the store. All they do follows from a seed.

They keep the interfaces of `farm.workers.pool.Pool` and `farm.lander.Lander`, write real spools, and live in
the same false time as the farm that they serve.
"""

from __future__ import annotations

import heapq
import random
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from farm import spool
from farm.connector import Document, Listing, Unit
from farm.core.job import Ending, Finished, JobSpec, Launch, Outcome, Reason, Stage
from farm.lander import Entry
from farm.lines import encode
from farm.reserve import Reserve
from farm.store.landing import Child, Children, Landed, Landing
from farm.workers.pool import NoCell
from farm.workers.spool import End

_encode = msgspec.json.Encoder().encode
ROOMY_BYTES = 10_000
REASONS = {Outcome.PERMANENT: Reason.PERMISSION_DENIED}


class Killed(BaseException):
    """The farm dies at this very point."""


class Time:
    """A steady clock and a wall clock. With a `fuse` of n, the n-th look at the wall clock kills the farm."""

    def __init__(self) -> None:
        self.steady_s = 5_000.0
        self.wall_s = 1_800_000_000.0
        self.awake_s = 0.0
        self.fuse: int | None = None

    def steady(self) -> float:
        return self.steady_s

    def wall(self) -> float:
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                raise Killed
        return self.wall_s

    def pass_by(self, seconds: float) -> None:
        self.awake_s += seconds
        self.sleep(seconds)

    def sleep(self, seconds: float) -> None:
        """The machine is suspended, or so busy that the farm is not served."""
        self.steady_s += seconds
        self.wall_s += seconds

    def step(self, seconds: float) -> None:
        """Somebody sets the wall clock."""
        self.wall_s += seconds


World = dict[str, dict[str, str]]
"""What is out there: of each source its units, with their versions."""


@dataclass(slots=True)
class Odds:
    """How often what goes wrong, of a hundred attempts; `none` once the faults are over."""

    failure: float = 14.0
    death: float = 6.0
    no_cell: float = 1.0

    @classmethod
    def none(cls) -> Odds:
        return cls(0.0, 0.0, 0.0)


@dataclass(slots=True)
class Act:
    """What one job of a launch will do: begin and end at these moments, with this outcome."""

    spec: JobSpec
    begins: float
    ends: float
    outcome: Outcome
    in_spool: bool
    """The worker lives to write its END line."""


@dataclass(slots=True)
class Cell:
    launch: Launch
    acts: list[Act]
    path: Path
    offset: int = 0
    endings: list[Ending] = field(default_factory=list)
    stop_asked: bool = False


class Cells:
    """A pool whose workers' fates are drawn. A launch and a job are in it at most once."""

    def __init__(
        self, home: Path, cells: int, time: Time, chance: random.Random, world: World, odds: Odds
    ) -> None:
        self.home, self.most, self.time, self.chance, self.world, self.odds = (
            home, cells, time, chance, world, odds,
        )  # fmt: skip
        self.cells: dict[int, Cell] = {}
        self._over: list[Finished] = []
        self.attempts = 0
        self.kill_at_launch = False

    # -- the pool's interface

    def launch(self, launch: Launch) -> int:
        if self.kill_at_launch:
            raise Killed
        if len(self.cells) >= self.most or self.chance.random() * 100 < self.odds.no_cell:
            raise NoCell("no cell is free")
        busy = {act.spec.job_id for cell in self.cells.values() for act in cell.acts}
        assert launch.id not in self.cells
        assert not busy & {spec.job_id for spec in launch.jobs}, "a job runs twice at once"
        self.cells[launch.id] = Cell(launch, self._script(launch), spool.path_of(self.home, launch.id))
        self.attempts += len(launch.jobs)
        return len(self.cells)

    def poll(self) -> list[Finished]:
        self.catch_up()
        over, self._over = self._over, []
        return over

    def kill(self, launch_id: int, outcome: Outcome, message: str, job_id: int | None = None) -> None:
        self.catch_up()
        cell = self.cells.get(launch_id)
        if cell is None:
            return
        if job_id is not None and not any(act.spec.job_id == job_id for act in cell.acts):
            return
        blamed = job_id if job_id is not None else cell.acts[0].spec.job_id
        spec = next(act.spec for act in cell.acts if act.spec.job_id == blamed)
        ending = Ending(blamed, spec.attempt_id, outcome, message, started_at=self.time.wall_s, signal=9)
        cell.acts = [act for act in cell.acts if act.spec.job_id != blamed]
        cell.endings.append(ending)
        if job_id is None or not cell.acts or cell.acts[0].begins > self.time.steady_s:
            self._end(cell)

    def ask_stop(self, launch_id: int | None) -> None:
        for cell in self.cells.values():
            if launch_id in (None, cell.launch.id) and not cell.stop_asked:
                cell.stop_asked = True
                if (
                    self.chance.random() < 0.5
                ):  # a polite one: what it is on ends soon, what follows never begins
                    del cell.acts[1:]
                    cell.acts[0].ends = min(cell.acts[0].ends, self.time.steady_s + 0.5)

    def facts(self) -> list[Any]:
        return []

    # -- time passes

    def next_event(self) -> float | None:
        return min((cell.acts[0].ends for cell in self.cells.values()), default=None)

    def catch_up(self) -> None:
        """Let happen what has happened by now."""
        for cell in list(self.cells.values()):
            while cell.launch.id in self.cells and cell.acts[0].ends <= self.time.steady_s:
                self._happen(cell, cell.acts.pop(0))
                if not cell.acts and cell.launch.id in self.cells:
                    self._end(cell)

    def _happen(self, cell: Cell, act: Act) -> None:
        wall = self.time.wall_s - (self.time.steady_s - act.begins)
        took = act.ends - act.begins
        memory = self.chance.randrange(20, 300) * 1024 * 1024
        if not act.in_spool:
            cell.endings.append(
                Ending(
                    act.spec.job_id,
                    act.spec.attempt_id,
                    act.outcome,
                    f"it {act.outcome}",
                    started_at=wall,
                    signal=9,
                )
            )
            self._end(cell)
            return
        lines = self._content(cell.launch.source, act)
        start = cell.offset
        raw = b"".join(lines)
        end = End(
            job=act.spec.job_id,
            attempt=act.spec.attempt_id,
            outcome=act.outcome,
            message="" if act.outcome is Outcome.SUCCEEDED else f"it {act.outcome}",
            reason=REASONS.get(act.outcome),
            retry_after_s=self.chance.uniform(1, 600) if act.outcome is Outcome.RATE_LIMITED else None,
            started_at=wall,
            start=start,
            end=start + len(raw),
            items=len(lines),
            wall_s=took,
            cpu_s=took * self.chance.random(),
            memory_peak_bytes=memory,
        )
        raw += _encode(end) + b"\n"
        with cell.path.open("ab") as file:
            file.write(raw)
        cell.offset += len(raw)
        cell.endings.append(end.ending(4711))

    def _end(self, cell: Cell) -> None:
        """The launch is over; what had not begun goes back."""
        del self.cells[cell.launch.id]
        ended = {ending.job_id for ending in cell.endings}
        unstarted = tuple(spec.job_id for spec in cell.launch.jobs if spec.job_id not in ended)
        self._over.append(Finished(cell.launch.id, 1, tuple(cell.endings), unstarted))

    # -- what chance decides

    def _script(self, launch: Launch) -> list[Act]:
        at, acts = self.time.steady_s, []
        for spec in launch.jobs:
            outcome, took = self._fate(launch, spec)
            in_spool = outcome not in (
                Outcome.CRASHED,
                Outcome.TIMED_OUT,
                Outcome.STALLED,
                Outcome.OUT_OF_MEMORY,
            )
            acts.append(Act(spec, at, at + took, outcome, in_spool))
            at += took
        return acts

    def _fate(self, launch: Launch, spec: JobSpec) -> tuple[Outcome, float]:
        chance, dice = self.chance, self.chance.random() * 100
        took = chance.choice((0.002, 0.05, 1.0, 20.0)) * chance.uniform(0.5, 1.5)
        if dice < self.odds.death:
            outcome = chance.choice(
                (Outcome.CRASHED, Outcome.TIMED_OUT, Outcome.STALLED, Outcome.OUT_OF_MEMORY)
            )
            fixed = {Outcome.TIMED_OUT: launch.limits.timeout_s, Outcome.STALLED: launch.limits.stall_s}
            return outcome, fixed.get(outcome, took)
        if dice < self.odds.death + self.odds.failure:
            kinds = [Outcome.TRANSIENT] * 5 + [Outcome.RATE_LIMITED, Outcome.DEPENDENCY, Outcome.PERMANENT]
            if spec.stage is Stage.EXTRACT:
                kinds.append(Outcome.INVALID_INPUT)
            return chance.choice(kinds), took
        return Outcome.SUCCEEDED, took

    def _content(self, source: str, act: Act) -> list[bytes]:
        if act.outcome is not Outcome.SUCCEEDED:
            return []
        if act.spec.stage is Stage.EXTRACT:
            return [encode(Document(act.spec.key, text=act.spec.version))]
        asked = msgspec.json.decode(act.spec.payload)
        there = self.world[source]
        if asked["paths"] is not None:
            return [encode(Unit(key, there[key])) for key in asked["paths"] if key in there]
        units = [encode(Unit(key, version)) for key, version in there.items()]
        return [*units, encode(Listing(complete=True))]


@dataclass(slots=True)
class Held:
    """A unit as the store holds it."""

    version: str
    fence: int


class Contents:
    """The store's rules of landing, in memory: once per attempt, no smaller fence, listings make children."""

    def __init__(self) -> None:
        self.units: dict[str, dict[str, Held]] = {}
        self.landings: dict[int, Landed] = {}
        self.effects: dict[tuple[str, str, str], int] = {}
        """How often a unit's version was written."""
        self.named: dict[int, set[tuple[str, str, str]]] = {}
        """What each listing named that was not held: all these become jobs, if they are not."""

    def land(self, landing: Landing) -> Landed:
        if landing.attempt_id in self.landings:
            return self.landings[landing.attempt_id]
        units = self.units.setdefault(landing.source, {})
        act = self._extracted if landing.stage is Stage.EXTRACT else self._listed
        landed = act(units, landing)
        self.landings[landing.attempt_id] = landed
        return landed

    def held(self) -> Mapping[str, Mapping[str, str]]:
        return {
            name: {key: unit.version for key, unit in units.items()} for name, units in self.units.items()
        }

    def _extracted(self, units: dict[str, Held], landing: Landing) -> Landed:
        (document,) = list(landing.lines)
        assert isinstance(document, Document), document
        assert (document.key, document.text) == (landing.key, landing.version), "another job's content"
        before = units.get(landing.key)
        if before and before.fence > landing.attempt_id:
            return Landed(landing.job_id, landing.attempt_id, stale=True)
        units[landing.key] = Held(landing.version, landing.attempt_id)
        if before and before.version == landing.version:
            return Landed(landing.job_id, landing.attempt_id, unchanged=1)
        place = (landing.source, landing.key, landing.version)
        self.effects[place] = self.effects.get(place, 0) + 1
        return Landed(landing.job_id, landing.attempt_id, new=before is None, changed=before is not None)

    def _listed(self, units: dict[str, Held], landing: Landing) -> Landed:
        listed: dict[str, str] = {}
        complete = False
        for line in landing.lines:
            if isinstance(line, Unit):
                listed[line.key] = line.version
            else:
                assert isinstance(line, Listing), line
                complete = line.complete
        children = Children()
        children.extend(
            Child(key, version, '{"data":{}}')
            for key, version in listed.items()
            if key not in units or units[key].version != version
        )
        self.named[landing.attempt_id] = {
            (landing.source, child.key, child.version) for chunk in children.chunks(1000) for child in chunk
        }
        gone = [key for key, unit in units.items() if key not in listed and unit.fence < landing.attempt_id]
        if not complete:
            gone = []
        for key in gone:
            del units[key]
        return Landed(
            landing.job_id, landing.attempt_id, deleted=len(gone), children=children, complete=complete
        )


class Disk:
    """The ledger's disk, that somebody fills and clears: then SQLite itself finds no page to write to."""

    def __init__(self, db: sqlite3.Connection, chance: random.Random) -> None:
        self._db, self._chance = db, chance
        self.free = ROOMY_BYTES
        self.fills = 0

    def fill(self) -> None:
        self.fills += 1
        self.free = 0
        self._limit(self._chance.randrange(3))

    def clear(self) -> None:
        if not self.free:
            self.free = ROOMY_BYTES
            self._limit(1_000_000)

    def release(self) -> None:
        """The reserve's room becomes free, if nobody else is faster."""
        if not self.free:
            self._limit(self._chance.choice((0, 3, 100)))

    def _limit(self, pages: int) -> None:
        count = self._db.execute("PRAGMA page_count").fetchone()[0]
        self._db.execute(f"PRAGMA max_page_count = {count + pages}")


class Spare(Reserve):
    """A reserve on that disk."""

    def __init__(self, home: Path, disk: Disk) -> None:
        super().__init__(home, lambda _: disk.free)
        self._disk = disk

    def release(self) -> None:
        super().release()
        self._disk.release()


class Landings:
    """A lander that takes a while; what it has landed stays, whatever becomes of the farm."""

    failure: BaseException | None = None
    full = False

    def __init__(
        self, land: Callable[[Sequence[Landing]], list[Landed]], time: Time, chance: random.Random
    ) -> None:
        self._land, self._time, self._chance = land, time, chance
        self._queue: list[tuple[float, int, Entry]] = []
        self._outbox: list[tuple[Landed, Ending]] = []
        self._ready = self._time.steady_s
        self._n = 0

    def put(self, entry: Entry) -> None:
        self._n += 1
        self._ready = max(self._ready, self._time.steady_s) + self._chance.choice((0.0, 0.01, 3.0))
        heapq.heappush(self._queue, (self._ready, self._n, entry))

    def poll(self) -> list[tuple[Landed, Ending]]:
        self.catch_up()
        done, self._outbox = self._outbox, []
        return done

    def try_again(self) -> None:
        """It never waits for room."""

    def next_event(self) -> float | None:
        if self._outbox:
            return self._time.steady_s
        return self._queue[0][0] if self._queue else None

    def catch_up(self) -> None:
        batch = []
        while self._queue and self._queue[0][0] <= self._time.steady_s:
            batch.append(heapq.heappop(self._queue)[2])
        if batch:
            landed = self._land([entry.landing for entry in batch])
            self._outbox += [(each, entry.ending) for each, entry in zip(landed, batch, strict=True)]
