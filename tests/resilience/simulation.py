"""The whole decision side under faults, from a seed: the real dispatcher, ledger, intake, settler, recovery and
operations, with false time, false cells and a false store (`stand_ins`).

    python -m tests.resilience.simulation 17           replay seed 17
    python -m tests.resilience.simulation 0 100000     seeds 0 to 99,999, on all cores; a third number: minutes

A seed is a small farm with a life of days: sources of different profiles, runs, events and bulk submissions,
operators who change their minds, attempts that fail in every way, kills at any look at the clock, stops,
downtimes. After each step the invariants of `Watchman` must hold. In the end the faults stop, everything
that waits is let go, and what the farm holds must be what is out there.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from farm import intake
from farm.core.admission import Budget
from farm.core.job import Event, Priority, RunType
from farm.core.profile import MIB, Profile
from farm.core.retry import CLASSES, RetryPolicy, Strategy
from farm.dispatch.dispatcher import Dispatcher
from farm.dispatch.inbox import Request
from farm.errors import FarmError
from farm.ledger.ledger import Ledger
from farm.operations import Operations
from farm.recovery import recover
from farm.settings import SourceSettings
from farm.settle import Settler
from farm.sources import Source, departed
from farm.store.landing import Landed, Landing
from tests.resilience.stand_ins import Cells, Contents, Disk, Killed, Landings, Odds, Spare, Time, World
from tests.resilience.watchman import Watchman

DAY_S = 86_400.0
STEPS = (5, 8, 12, 30)
"""Of a seed's life with faults; the calm end takes some forty more."""
QUIET_STEPS = 4_000
"""A farm without faults has settled everything long before."""
ROOMY = Budget(cpu=4.0, memory_bytes=4096 * MIB, cells=3)


@cache
def _empty_ledger() -> bytes:
    """An empty ledger's file."""
    db = sqlite3.connect(":memory:")
    db.executescript(resources.files("farm.ledger").joinpath("schema.sql").read_text())
    return db.serialize()


def _in_memory() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", isolation_level=None, cached_statements=512)
    db.deserialize(_empty_ledger())
    return db


@dataclass(slots=True)
class Told:
    """What the client was told: the runs and the units of its submissions that were acknowledged."""

    runs: set[int] = field(default_factory=set)
    units: set[tuple[str, str, str]] = field(default_factory=set)


class Simulation:
    """One seed. `run` raises AssertionError where the farm breaks a promise."""

    def __init__(
        self,
        seed: int,
        home: Path,
        disk: sqlite3.Connection | None = None,
        land: Callable[[Sequence[Landing]], list[Landed]] | None = None,
    ) -> None:
        """`disk`: the ledger's connection, and `land`: what the landing thread does; both in memory by default."""
        self.chance = random.Random(seed)
        self.home = home
        for name in ("spool", "scratch", "beat"):
            (home / name).mkdir(exist_ok=True)
        self.time = Time()
        self.contents = Contents()
        self._land = land or (lambda batch: [self.contents.land(landing) for landing in batch])
        self.disk = disk or _in_memory()
        self.room = Disk(self.disk, self.chance)
        self.settings = {s.name: s for s in self._draw_sources()}
        self.world: World = {name: {} for name in self.settings}
        self.changed: dict[str, set[str]] = {name: set() for name in self.settings}
        self.odds = Odds()
        self.told = Told()
        self.kills = self.stops = self.steps = self._named = 0
        self.next_fire = 0.0
        self.began_s = self.time.steady_s
        self.start()

    # -- a life

    def run(self) -> None:
        for name in self.world:
            for _ in range(self.chance.randrange(1, 4)):
                self._change_world(name)
        for _ in range(self.chance.choice(STEPS)):
            self.step()
        self.calm_down()

    def step(self) -> None:
        """What comes in now, what the farm makes of it, and on to whatever happens next."""
        self.steps += 1
        dice = self.chance.random()
        if dice < 0.03:
            self._stop()
        elif dice < 0.08:
            self.die()
        elif dice < 0.14:
            self.time.fuse = self.chance.randrange(60)
        elif dice < 0.16:
            self.cells.kill_at_launch = True
        elif dice < 0.21:
            self.room.fill()
        elif dice < 0.36:
            self.room.clear()
        elif dice < 0.40:
            self.time.step(self.chance.choice((-1, 1)) * self.chance.choice((60.0, 3600.0, 3650 * DAY_S)))
        wishes = [self._wish() for _ in range(self.chance.choice((0, 1, 1, 2)))]
        wishes += self._schedule()
        if self.tick(wishes):
            self.watchman.look(self)
        self.pass_time()

    def calm_down(self) -> None:
        """No more faults; everybody lets go of what they hold; then all must come to its end."""
        self.odds = self.cells.odds = Odds.none()
        self.budget = ROOMY
        self.die()
        for op, more in (("resume_source", True), ("resume_jobs", False), ("retry_jobs", False)):
            for name in self.settings if more else [""]:
                arguments = {"name": name} if more else {"all": True}
                self.tick([self.ask(op, **arguments)])
        self._until_quiet()
        for name in self.settings:
            self.tick([self.ask("run", source=name)])
        self._until_quiet()
        self.watchman.look(self)
        self.watchman.judge(self)

    def _until_quiet(self) -> None:
        for _ in range(QUIET_STEPS):
            self.steps += 1
            self.tick([])
            open_jobs = self.disk.execute(
                "SELECT count(*) FROM job WHERE state IN ('pending', 'running', 'retrying')"
            ).fetchone()[0]
            busy = self.cells.cells or self.landings.next_event() is not None
            if not open_jobs and not busy and self.dispatcher.patience_s() is None:
                return
            self.pass_time(idle_s=10.0)
            self.time.pass_by(self.chance.uniform(0, 60))  # in large steps: what is left only has to end
        rest = self.disk.execute(
            "SELECT id, state, message FROM job WHERE state NOT IN ('succeeded', 'cancelled')"
        )
        raise AssertionError(f"work is left that never ends: {rest.fetchall()[:5]}")

    # -- the farm's process

    def start(self) -> None:
        """As the supervisor does it."""
        reserve = Spare(self.home, self.room)
        reserve.fill()
        self.ledger = Ledger(self.home / "ledger.db", self.disk, self.time.wall)
        self.budget = self.chance.choice((ROOMY, Budget(2.0, 1024 * MIB, 2), Budget(1.0, 700 * MIB, 8)))
        self.sources = {name: Source(settings) for name, settings in self.settings.items()}
        for source in self.sources.values():
            source.load(self.ledger)
        settler = Settler(
            self.ledger, lambda name: self.settings.get(name, departed(name)), self.chance.random
        )
        salvaged = recover(
            self.ledger, settler, self.home, lambda attempts: self.contents.landings.keys() & set(attempts)
        )
        self.cells = Cells(self.home, self.budget.cells, self.time, self.chance, self.world, self.odds)
        self.landings = Landings(self._land, self.time, self.chance)
        self.dispatcher = Dispatcher(
            self.ledger,
            self.cells,  # type: ignore[arg-type]  # the pool's interface, and nothing behind it
            self.landings,  # type: ignore[arg-type]
            settler,
            self.sources,
            home=self.home,
            budget=lambda _held: self.budget,
            cursor_of=lambda _source: None,
            monotonic=self.time.steady,
            reserve=reserve,
        )
        for item in salvaged:
            self.dispatcher.adopt(item.launch, item.finished)
        self.operations = Operations(self.ledger, self.settings, self)
        self.watchman = Watchman()
        self.watchman.look(self, thoroughly=True)

    def tick(self, wishes: list[tuple[Request, Callable[[Any], None]]]) -> bool:
        """One tick of the dispatcher; False when the farm died in it, and another took its place."""
        try:
            self.dispatcher.tick([request for request, _ in wishes])
        except Killed:
            self.die()
            return False
        finally:
            self.time.fuse = None
        for request, told in wishes:
            if request.answer.exception() is None:
                told(request.answer.result())
            else:
                assert isinstance(request.answer.exception(), FarmError), request.answer.exception()
        return True

    def die(self) -> None:
        """kill -9: what is in the ledger, the store and the spools stays, maybe with a torn last line."""
        self.kills += 1
        self.time.fuse = None
        self.landings.catch_up()
        self.cells.catch_up()
        for cell in self.cells.cells.values():
            if self.chance.random() < 0.5:
                with cell.path.open("ab") as file:
                    file.write(b'{"type":"END","job":'[: self.chance.randrange(21)])
        assert not self.disk.in_transaction
        self._be_down()

    def _stop(self) -> None:
        """An orderly end: nothing is lost, no attempt is left open."""
        self.stops += 1
        self.room.clear()
        self.dispatcher.stop(self.chance.choice((0.0, 10.0)))
        for _ in range(QUIET_STEPS):
            if self.dispatcher.done():
                break
            if not self.tick([]):
                return
            self.pass_time()
        assert self.dispatcher.done(), "the farm does not stop"
        open_attempts = "SELECT count(*) FROM attempt WHERE outcome IS NULL"
        assert self.disk.execute(open_attempts).fetchone() == (0,), "a stop left attempts open"
        self._be_down()

    def _be_down(self) -> None:
        """Until somebody starts it again, on a disk with room."""
        self.room.clear()
        if self.chance.random() < 0.3:
            self.time.pass_by(self.chance.choice((1.0, 3600.0, 2 * DAY_S)) * self.chance.random())
        self.start()

    # -- time

    def pass_time(self, idle_s: float | None = None) -> None:
        """On to the next thing that happens. A tick may always come late."""
        patience_s = self.dispatcher.patience_s()
        if patience_s == 0.0:
            return
        if self.chance.random() < 0.03:
            self.time.sleep(self.chance.uniform(0, DAY_S))
            return
        waits = [
            at - self.time.steady_s for at in (self.cells.next_event(), self.landings.next_event()) if at
        ]
        if patience_s is not None:
            waits.append(max(patience_s, self.chance.uniform(0.5, 10.0)) if self._coarse() else patience_s)
        if not waits:
            waits.append(self.chance.expovariate(1 / (DAY_S / 3)) if idle_s is None else idle_s)
        self.time.pass_by(max(0.001, min(waits)))

    def _coarse(self) -> bool:
        return self.chance.random() < 0.9

    # -- what comes in

    def _wish(self) -> tuple[Request, Callable[[Any], None]]:
        name = self.chance.choice(list(self.settings))
        match self.chance.randrange(14):
            case 0 | 1 | 2:
                self._change_world(name)
                return self.ask("run", source=name, type=self.chance.choice(("incremental", "full")))
            case 3 | 4 | 5:
                return self._watch(name)
            case 6 | 7 | 8:
                return self._submit(name)
            case 9:
                return self.ask(
                    self.chance.choice(("pause_source", "resume_source", "resume_source")), name=name
                )
            case _:
                op = self.chance.choice(
                    ("cancel_jobs", "pause_jobs", "resume_jobs", "retry_jobs", "discard_jobs")
                )
                return self.ask(op, **self._some_jobs(name))

    def ask(self, op: str, **arguments: Any) -> tuple[Request, Callable[[Any], None]]:
        def act() -> Any:
            result = self.operations.perform(op, arguments, "operator")
            if op in ("pause_source", "resume_source"):
                self.sources[arguments["name"]].paused = bool(result["paused"])
            if op in ("resume_source", "run"):
                self.sources[arguments.get("name") or arguments["source"]].close_fuse()
            return result

        def told(result: Any) -> None:
            if "run_id" in result:
                self.told.runs.add(result["run_id"])

        return Request(act), told

    def _some_jobs(self, name: str) -> dict[str, Any]:
        newest = self.disk.execute("SELECT max(id) FROM job").fetchone()[0] or 1
        if self.chance.random() < 0.2:
            return {"all": True, "source": name}
        return {"ids": [self.chance.randint(1, newest + 1) for _ in range(self.chance.randint(1, 5))]}

    def _submit(self, name: str) -> tuple[Request, Callable[[Any], None]]:
        units = []
        for _ in range(self.chance.choice((1, 2, 3, 9))):
            self._named += 1
            units.append({"key": f"given{self._named}", "version": self.chance.choice(("", "1"))})
        request, _ = self.ask("submit", source=name, jobs=units, priority=self.chance.choice((None, 0, 1, 2)))

        def told(result: Any) -> None:
            assert result["new"] == len(units), "a unit that nobody knew was known"
            self.told.runs.add(result["run_id"])
            self.told.units |= {(name, unit["key"], unit["version"]) for unit in units}

        return request, told

    def _watch(self, name: str) -> tuple[Request, Callable[[Any], None]]:
        self._change_world(name)
        paths, self.changed[name] = sorted(self.changed[name]), set()
        return self._admit(name, "watch", None, paths or None)

    def _schedule(self) -> Iterator[tuple[Request, Callable[[Any], None]]]:
        """Every few hours one source is due; a fire that was told twice has one run."""
        if self.time.steady_s >= self.next_fire:
            self.next_fire = self.time.steady_s + self.chance.uniform(0.2, 1.5) * DAY_S
            name = self.chance.choice(list(self.settings))
            key = f"{name}@{self.next_fire}"
            yield self._admit(name, "every", key)
            if self.chance.random() < 0.3:
                yield self._admit(name, "every", key)

    def _admit(
        self, name: str, trigger: str, key: str | None, paths: Sequence[str] | None = None
    ) -> tuple[Request, Callable[[Any], None]]:
        def act() -> Any:
            if self.sources[name].paused:
                return intake.Answer(None)
            given = None if paths is None else tuple(paths)
            return intake.admit(
                self.ledger,
                intake.Request(self.settings[name], RunType.INCREMENTAL, trigger, key, paths=given),
            )

        def told(answer: Any) -> None:
            if answer.run_id is not None:
                self.told.runs.add(answer.run_id)

        return Request(act), told

    def _change_world(self, name: str) -> None:
        units = self.world[name]
        dice = self.chance.random()
        self._named += 1
        if dice < 0.6 or not units:
            key = f"unit{self._named}"
            units[key] = "1"
        else:
            key = self.chance.choice(list(units))
            if dice < 0.85:
                units[key] = f"{self._named}"
            else:
                del units[key]
        self.changed[name].add(key)

    def _draw_sources(self) -> Iterator[SourceSettings]:
        for i in range(self.chance.randint(1, 3)):
            profile = Profile(
                cpu=self.chance.choice((0.25, 1.0, 2.0)),
                memory_bytes=self.chance.choice((64, 256, 512)) * MIB,
                memory_max_bytes=640 * MIB,
                max_concurrent=self.chance.choice((1, 2, 4)),
                timeout_s=self.chance.choice((5.0, 60.0, 300.0)),
                stall_s=self.chance.choice((3.0, 30.0)),
                batch=self.chance.choice((1, 4, 32)),
            )
            retry = self.chance.choice(
                (
                    *CLASSES.values(),
                    RetryPolicy(),
                    RetryPolicy(strategy=Strategy.IMMEDIATE),
                    RetryPolicy(strategy=Strategy.NONE),
                )
            )
            priority = self.chance.choice(list(Priority))
            yield SourceSettings(
                f"source{i}", f"connector{i % 2}", None, None, "UTC", False, None, priority,
                self.chance.choice((0.5, 1.0, 3.0)), "{}", profile, retry,
            )  # fmt: skip

    # -- what operations ask of a running farm

    def interrupt(self, job_id: int, event: Event, actor: str) -> bool:
        return self.dispatcher.interrupt(job_id, event, actor)

    def hold(self, job_id: int) -> str:
        return self.dispatcher.hold(job_id)

    def purge(self, source: str) -> None:
        raise NotImplementedError

    def forget_usage(self, source: str) -> None:
        self.sources[source].forget_usage()


def simulate(seed: int, home: Path) -> dict[str, float]:
    """Live through this seed; figures about it. The AssertionError names the seed and how to replay it."""
    try:
        simulation = Simulation(seed, home)
        simulation.run()
    except (AssertionError, Exception) as error:
        raise AssertionError(
            f"seed {seed}: {error!r}; replay: python -m tests.resilience.simulation {seed}"
        ) from error
    disk = simulation.disk
    figures = {
        "seeds": 1.0,
        "simulated_s": simulation.time.steady_s - simulation.began_s,
        "steps": float(simulation.steps),
        "kills": float(simulation.kills),
        "stops": float(simulation.stops),
        "full disks": float(simulation.room.fills),
        "jobs": float(disk.execute("SELECT count(*) FROM job").fetchone()[0]),
        "attempts": float(disk.execute("SELECT count(*) FROM attempt").fetchone()[0]),
    }
    disk.close()
    return figures


if __name__ == "__main__":
    from tests.resilience.many import main

    main(simulate)
