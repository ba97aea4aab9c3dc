"""The fault harness: one seed is one scenario, and after every fault the same three looks.

    python -m tests.resilience SCENARIO --seed N      replays what the seed N does

A scenario draws what it does from `random.Random(seed)`, in an order that does not depend on the farm; when a
fault hits, the machine decides to the microsecond. After a fault: what `farm doctor` finds, what the oracle
says, and who still lives in the process table.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import sqlite3
import threading
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from farm.doctor import examine
from farm.errors import FarmError
from farm.workers import proc
from tests.resilience.oracle import Oracle
from tests.support import wait
from tests.support.farms import Farm

T = TypeVar("T")

HERE = "tests.resilience.connectors"
OF_THESE = "of these, "
LONG_S = 1800.0
"""No job of a scenario rests so long before its retry."""
GONE_S = 5.0
"""What the design promises: so long after the farm's death none of its processes lives."""


@dataclass
class Report:
    """What a run of a scenario did and found; `problems` is empty when the farm kept its promises."""

    scenario: str
    seeds: list[int] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    figures: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    skipped: dict[str, str] = field(default_factory=dict)
    """What could not be done here, and why."""
    problems: list[str] = field(default_factory=list)
    wall_s: float = 0.0

    @property
    def total(self) -> int:
        """All faults; what is said of some of them counts only once."""
        return sum(n for fault, n in self.faults.items() if not fault.startswith(OF_THESE))

    def add(self, other: Report) -> None:
        """Make one of two."""
        self.seeds += other.seeds
        self.faults += other.faults
        self.checks += other.checks
        for name, values in other.figures.items():
            self.figures[name] += values
        self.skipped |= other.skipped
        self.problems += other.problems
        self.wall_s += other.wall_s


class Broken(AssertionError):
    """The farm did not keep a promise."""


@dataclass
class World:
    """One state folder, its farm, its oracle, and the chance that decides."""

    base: Path
    report: Report
    chance: random.Random
    sources: dict[str, dict[str, Any]]
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.base.mkdir(parents=True, exist_ok=True)
        (self.base / "tries").mkdir(exist_ok=True)
        self.oracle = Oracle(self.base / "oracle")
        self.farm = Farm(self.base / "home", self.sources, **self.settings)
        self.home = self.farm.home
        self._number = 0
        self._unkept: list[str] = []

    def key(self, kind: str) -> str:
        self._number += 1
        return f"{kind}-{self._number}"

    def submit(
        self,
        source: str,
        keys: list[str],
        *,
        timeout_s: float = 10.0,
        then: Callable[[], None] | None = None,
    ) -> bool:
        """Hand in these units; True when the farm acknowledged them. `then` comes at once, before it is noted."""
        from farm import control

        self.oracle.asks(source, keys)
        try:
            answer = control.call(
                self.home,
                "submit",
                timeout_s=timeout_s,
                source=source,
                jobs=[{"key": key, "version": "1"} for key in keys],
            )
        except (FarmError, OSError):
            return False
        if then is not None:
            then()
        elif self._in_ledger(source, keys) < len(set(keys)):
            self._unkept.append(f"{source} {keys[0]} … was acknowledged before it was in the ledger")
        self.oracle.acknowledged(source, keys, answer["run_id"])
        return True

    def _in_ledger(self, source: str, keys: list[str]) -> int:
        """How many of these another process finds there: what is not yet committed it does not."""
        try:
            return int(
                self.farm.ledger(
                    "SELECT count(DISTINCT key) FROM job WHERE source = ? AND stage = 'extract'"
                    " AND key IN (SELECT value FROM json_each(?))",
                    source,
                    json.dumps(keys),
                )[0][0]
            )
        except (FarmError, OSError, sqlite3.Error):
            return len(keys)  # nothing can be read just now: `look` will tell

    # -- the looks

    def look(self, *, doctor: bool = True) -> None:
        """What `farm doctor` and the oracle say right now."""
        self._complain("acknowledgement", list(self._unkept))
        if doctor:
            self.examine()
        self._complain("oracle", self.oracle.look(self.home))

    def examine(self) -> None:
        found = [
            f"{each.check}: {each.detail}" for each in examine(self.home, self.farm.config) if not each.ok
        ]
        self._complain("doctor", found)

    def settle(self, **expected: Any) -> None:
        """All work should be over, and the farm down."""
        self.examine()
        self._complain("oracle", self.oracle.settle(self.home, **expected))
        self._complain("process table", [f"process {pid} lives" for pid in self.farm.processes()])

    def gone(self, pids: list[tuple[int, int]], since: float) -> None:
        """These processes end within 5 s of `since` (monotonic)."""
        left = [p for p in pids if proc.alive(*p)]
        while left and time.monotonic() - since < GONE_S:
            time.sleep(0.01)
            left = [p for p in left if proc.alive(*p)]
        self.report.figures["processes gone, s"].append(time.monotonic() - since)
        self._complain("process table", [f"process {pid} outlived the farm" for pid, _ in left])

    def members(self) -> list[tuple[int, int]]:
        """(pid, start) of all that belongs to the farm now."""
        stats = (proc.stat(pid) for pid in self.farm.processes())
        return [(s.pid, s.start) for s in stats if s is not None and not s.gone]

    def _complain(self, who: str, complaints: list[str]) -> None:
        self.report.checks[who] += 1
        if complaints:
            shown = "; ".join(complaints[:5])
            raise Broken(f"{who}: {shown}{f' … ({len(complaints)})' if len(complaints) > 5 else ''}")

    # -- the farm's life

    def start(self, timeout_s: float = 30.0) -> float:
        """Start it; how long until it answered."""
        began = time.monotonic()
        self.farm.start(ready=False)
        until(self.farm._answers, timeout_s, every_s=0.005, what=f"the farm's start: {self.farm.said()}")
        return time.monotonic() - began

    def lives(self) -> bool:
        """True; raises when the farm has ended by itself, which no fault here may make it do."""
        process = self.farm.process
        if process is not None and process.poll() is not None:
            raise Broken(f"the farm ended by itself with {process.returncode}: {self.farm.said()[-600:]}")
        return True

    def drain(self, timeout_s: float = 120.0) -> int:
        """Have a farm finish all there is, without schedules; its exit code."""
        self.farm.start(drain=True)
        code = self.farm.wait(timeout_s * busy())
        self._complain(
            "exit code", [] if code in (0, 3) else [f"drain ended with {code}: {self.farm.said()}"]
        )
        return code

    def idle(self, timeout_s: float = 60.0) -> None:
        """Wait until the running farm has nothing left to do."""
        busy = (  # asked many times a second, and a soaked farm has long had a hundred thousand jobs
            "SELECT 1 FROM job WHERE finished_at IS NULL AND state IN ('pending', 'running', 'retrying') LIMIT 1"
        )
        self.until(lambda: self.lives() and not self.farm.ledger(busy), timeout_s, "idle farm")

    def until(self, condition: Callable[[], object], timeout_s: float, what: str) -> None:
        """Wait for what the running farm should come to. When it does not: who was forgotten, if anybody was."""
        try:
            until(condition, timeout_s, every_s=0.05, what=f"{what}\n{self.farm.said()}")
        except Broken:
            raise
        except AssertionError:
            stuck = set(self.forgotten())

            def moved() -> bool:  # what is on its way from one hand to the next is not forgotten
                stuck.intersection_update(self.forgotten())
                return not stuck

            with contextlib.suppress(AssertionError):
                until(moved, 2.0, every_s=0.1)
            self._complain("forgotten", sorted(stuck))
            raise

    def forgotten(self) -> list[str]:
        """Jobs and cells that nothing will ever move again."""
        cells = self.farm.call("status_live")["cells"]
        launches = {cell["launch_id"] for cell in cells if cell["launch_id"] is not None}
        running = self.farm.ledger("SELECT job_id, launch_id FROM attempt WHERE outcome IS NULL ORDER BY 1")
        waiting = self.farm.ledger(
            "SELECT id, coalesce(due_at, 0) - (SELECT at FROM transition ORDER BY id DESC LIMIT 1)"
            " FROM job WHERE state IN ('pending', 'retrying') ORDER BY id"
        )
        return [
            *(
                f"cell {c['number']} waits for a dead worker"
                for c in cells
                if c["launch_id"] and _dead(c["pid"])
            ),
            *(f"job {job} is running in no cell" for job, launch in running if launch not in launches),
            *(
                f"job {job} waits and all cells rest"
                for job, left_s in waiting
                if left_s <= 0 and not launches
            ),
            *(f"job {job} waits for half an hour and more" for job, left_s in waiting if left_s > LONG_S),
        ]

    def told(self, connector: str, **table: Any) -> dict[str, Any]:
        return told(self.base, connector, **table)


def told(base: Path, connector: str, **table: Any) -> dict[str, Any]:
    """A source's table for a connector that tells the oracle of `base`."""
    options = {
        "effects": str(base / "oracle" / "effects.jsonl"),
        "tries": str(base / "tries"),
        **table.pop("options", {}),
    }
    return {"connector": f"{HERE}:{connector}", "options": options, **table}


def _dead(pid: int | None) -> bool:
    found = proc.stat(pid) if pid else None
    return found is None or found.gone


@contextlib.contextmanager
def scene(
    scenario: str,
    seed: int,
    base: Path,
    sources: Callable[[Path, random.Random], dict[str, dict[str, Any]]],
    *,
    keep: bool = False,
    **settings: Any,
) -> Iterator[World]:
    """A world of its own for this seed. What breaks in it stands in its report, with the state kept to look at."""
    folder = base / f"{scenario}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    chance = random.Random(f"{scenario} {seed}")
    report = Report(scenario, [seed])
    world = World(folder, report, chance, sources(folder, chance), settings)
    began = time.monotonic()
    try:
        yield world
    except Exception as error:
        kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
        report.problems.append(f"{scenario} --seed {seed}: {kind}{error}")
        (folder / "traceback").write_text(traceback.format_exc())
    finally:
        report.wall_s = time.monotonic() - began
        world.farm.close()
        if not report.problems and not keep:
            shutil.rmtree(folder, ignore_errors=True)


def until(condition: Callable[[], T], timeout_s: float, every_s: float = 0.01, what: str = "") -> T:
    """As everywhere in the tests; on a machine that is busy with others it waits for as much longer."""
    return wait.until(condition, timeout_s * busy(), every_s, what)


class Client(threading.Thread):
    """Submits without end, whatever becomes of the farm, so that a fault can hit any step of intake."""

    def __init__(
        self, world: World, batch: Callable[[], tuple[str, list[str]]], pause_s: float, most: int
    ) -> None:
        super().__init__(daemon=True, name="client")
        self._world, self._batch, self._pause_s, self._most = world, batch, pause_s, most
        self._over = threading.Event()
        self._open = threading.Event()

    def run(self) -> None:
        while not self._over.is_set():
            self._open.wait()
            if self._over.wait(self._pause_s):
                return
            if self._waiting() < self._most:
                source, keys = self._batch()
                if keys:
                    self._world.submit(source, keys)
                else:
                    with contextlib.suppress(FarmError, OSError):
                        self._world.farm.call("run", source=source)

    def _waiting(self) -> int:
        try:
            rows = self._world.farm.ledger(
                "SELECT coalesce(sum(n), 0) FROM tally WHERE state IN ('pending', 'retrying')"
            )
        except (FarmError, OSError, sqlite3.Error):
            return 0  # a farm that has just been born has no tables yet
        return int(rows[0][0])

    def resume(self) -> None:
        self._open.set()

    def close(self) -> None:
        self._over.set()
        self._open.set()
        self.join(15.0)


def busy() -> float:
    """How much longer things take on this machine now than they would if the farm had a core to itself."""
    most = float(os.environ.get("FARM_TEST_PATIENCE", "inf"))
    return min(most, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))


def quantile(values: list[float], q: float) -> float:
    """The value below which a share q of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else 0.0
