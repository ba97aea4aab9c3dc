"""Deaths of workers, one after the other in one farm that is never short of work.

Half of them come from inside, as the unit's key says: signals, a stopped process, memory, and (a fifth of all
at least) an end in the middle of writing the result: in the content's bytes, in the END line, between the END
line and the news of it, in the answer on the pipe. The others come from outside, at any moment, to a worker or
to the fork server. Every unit must land all the same, and no cell may stand still for more than 3 s.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from farm.errors import FarmError
from farm.workers import proc
from tests.resilience.connectors import DEATHS, DEATHS_WHILE_WRITING
from tests.resilience.harness import Report, World, busy, scene, told
from tests.resilience.oracle import Log

NAME = "deaths"
CELLS = 3
STALL_S = 0.7
WEDGED_S = 3.0
RETRY = {"max_attempts": 3, "base": "20ms", "max": "50ms", "max_deaths": 1000, "overrides": {}}
PROFILE = {"cpu": 0.1, "memory": "160MB", "memory_max": "160MB", "max_concurrent": 8, "timeout": "120s"}


def sources(base: Path, chance: random.Random) -> dict[str, dict[str, Any]]:
    profile = {**PROFILE, "stall": f"{int(STALL_S * 1000)}ms"}
    retry = {k: v for k, v in RETRY.items() if v != {}}
    return {
        "victims": told(base, "Told", profile={**profile, "batch": 4}, retry=retry, priority="high"),
        "others": told(
            base, "Told", profile={**profile, "batch": 16}, retry=retry, options={"sleep_s": 0.004}
        ),
    }


def run(seed: int, base: Path, faults: int = 100, *, keep: bool = False) -> Report:
    """So many deaths in one farm."""
    with scene(NAME, seed, base, sources, keep=keep, workers=CELLS, cpu=4.0) as world:
        world.report.skipped["real cgroup"] = (
            "the machine's memory cgroups belong to what started the tests; the cap is the meter's and RLIMIT_DATA's"
        )
        world.start()
        stills = Stills(world)
        stills.start()
        inside = list(_plan(world.chance, faults))
        outside = 0
        while outside + _died(world) < faults:
            _keep_busy(world)
            if inside and world.chance.random() < 0.7:
                kinds = [inside.pop() for _ in range(min(len(inside), world.chance.randrange(1, 5)))]
                keys = [world.key(kind) for kind in kinds]
                keys += [world.key("ok") for _ in range(world.chance.randrange(4))]
                world.chance.shuffle(keys)
                world.submit("victims", keys)
            else:
                outside += _from_outside(world)
                world.until(lambda: len(_busy(world)) > 0, 60, "work after a death")
            _let_them_die(world)
            if world.chance.random() < 0.1:
                world.look(doctor=False)
        world.idle(120)
        world.look()
        stills.close()
        _count(world, stills)
        assert world.farm.stop() == 0, world.farm.said()
        world.settle()
    return world.report


def _plan(chance: random.Random, faults: int) -> list[str]:
    """The deaths from inside: of all that are asked for, at least a fifth while writing, all others also."""
    writing = [DEATHS_WHILE_WRITING[i % len(DEATHS_WHILE_WRITING)] for i in range(-(-faults // 4))]
    others = [kind for kind in DEATHS if kind not in DEATHS_WHILE_WRITING]
    plan = writing + [others[i % len(others)] for i in range(faults // 3)]
    chance.shuffle(plan)
    return plan


def _keep_busy(world: World) -> None:
    (waiting,) = world.farm.ledger(
        "SELECT count(*) FROM task WHERE queue = 'others' AND lease IS NULL AND due_at IS NULL"
    )[0]
    if waiting < 400:
        world.submit("others", [world.key("ok") for _ in range(500)])


def _busy(world: World) -> list[int]:
    """Pids of workers with a launch."""
    cells = world.farm.call("status_live")["cells"]
    return [cell["pid"] for cell in cells if cell["launch_id"] is not None and cell["pid"]]


def _from_outside(world: World) -> int:
    """Somebody else's signal, to a worker at work or (rarely) to the fork server of all; how many that was."""
    luck, number = (
        world.chance.random(),
        world.chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP, signal.SIGTERM]),
    )
    if luck < 0.08:
        servers = [pid for pid in proc.children(world.farm.pid) if _title(pid).startswith("farm: nursery")]
        for pid in servers[:1]:
            os.kill(pid, signal.SIGKILL)
            world.report.faults["SIGKILL of the fork server from outside"] += 1
        return len(servers[:1])
    at_work = _busy(world)
    if not at_work:
        return 0
    pid = world.chance.choice(at_work)
    found = proc.stat(pid)
    if found is None or found.gone:
        return 0
    time.sleep(world.chance.uniform(0, 0.02))
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return 0
    world.report.faults[f"{number.name} of a worker from outside"] += 1
    return 1


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _let_them_die(world: World) -> None:
    """Not more at once than there are cells: a pause for the next ones to be built."""
    unfinished = (
        "SELECT count(*) FROM job WHERE source = 'victims' AND state IN ('pending', 'retrying', 'running')"
    )
    world.until(lambda: world.farm.ledger(unfinished)[0][0] < 6, 60, "the end of those that die")


def _died(world: World) -> int:
    facts, _ = Log.read(world.oracle.effects)
    return sum(fact["did"] == "dies" for fact in facts)


def _count(world: World, stills: Stills) -> None:
    """The deaths that were really died, and how long each cell stood still after one."""
    facts, _ = Log.read(world.oracle.effects)
    kinds = Counter(fact["how"] for fact in facts if fact["did"] == "dies")
    for kind, n in kinds.items():
        name = (
            f"{kind}, while the result is written"
            if kind in DEATHS_WHILE_WRITING
            else f"{kind}, while reading"
        )
        world.report.faults[name] += n
    begins: dict[str, list[float]] = {}
    for fact in facts:
        if fact["did"] == "begin":
            begins.setdefault(_cell(fact), []).append(fact["at"])
    last = max(fact["at"] for fact in facts)
    still: list[float] = []
    for fact in facts:
        if fact["did"] == "dies" and fact["how"] != "oom":
            after = next((at for at in begins[_cell(fact)] if at > fact["at"]), last)
            still.append(after - fact["at"])
    world.report.figures["cell stood still, s"] += still
    limit_s = WEDGED_S * busy()
    world._complain("cells", [f"a cell stood still for {s:.1f} s" for s in still if s > limit_s])
    world.report.figures["longest that a cell showed no change, s"].append(stills.longest_s)
    if stills.longest_s > limit_s:
        world._complain("cells", [f"for {stills.longest_s:.1f} s nothing changed in {stills.which}"])


class Stills(threading.Thread):
    """Looks at the cells all the time: how long one that is not idle shows no change."""

    def __init__(self, world: World) -> None:
        super().__init__(daemon=True, name="stills")
        self._world, self._over = world, threading.Event()
        self.longest_s, self.which = 0.0, ""

    def run(self) -> None:
        since: dict[tuple[object, ...], float] = {}
        while not self._over.wait(0.05):
            try:
                cells = self._world.farm.call("status_live")["cells"]
            except (FarmError, OSError):
                continue
            now = time.monotonic()
            shown = {tuple(cell[name] for name in SHOWN) for cell in cells if cell["state"] != "idle"}
            since = {cell: since.get(cell, now) for cell in shown}
            for cell, begun in since.items():
                if now - begun > self.longest_s:
                    self.longest_s, self.which = now - begun, str(dict(zip(SHOWN, cell, strict=True)))

    def close(self) -> None:
        self._over.set()
        self.join(5)


SHOWN = ("number", "pid", "state", "launch_id", "job_id", "done")


def _cell(fact: dict[str, Any]) -> str:
    """Its number, whichever life it is in."""
    return str(fact["cell"]).split("-")[1]
