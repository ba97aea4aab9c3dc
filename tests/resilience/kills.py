"""Random kills of the farm: SIGKILL at a random moment of a busy run, again and again on the same state.

Several sources at once: submitted units that succeed, fail and go to quarantine, slow ones that are under way
when the kill comes, a tape on a schedule that is read once only, and a watched folder in which files come,
change and go. A client submits all the time, so that kills hit intake too.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

from farm.errors import FarmError
from farm.sqlite import open_reader
from farm.workers import proc
from tests.resilience.harness import OF_THESE, Client, Report, World, scene, told, until
from tests.support.farms import local_files

NAME = "kills"
RECOVERY = "recovery, s"
BUSY_LOAD = 2.0
"""More than this per core is a busy machine: then what takes seconds says little of the farm."""
RETRY = {"max_attempts": 3, "base": "50ms", "max": "100ms", "max_losses": 1000, "max_deaths": 1000}
PROFILE = {"cpu": 0.1, "memory": "128MB", "max_concurrent": 8, "timeout": "60s", "stall": "60s"}


def sources(base: Path, chance: random.Random) -> dict[str, dict[str, Any]]:
    (base / "folder").mkdir(parents=True)
    batch = chance.choice([1, 8, 32])
    return {
        "work": told(base, "Told", profile={**PROFILE, "batch": batch}, retry=RETRY),
        "slow": told(base, "Told", profile={**PROFILE, "batch": 2}, retry=RETRY, options={"sleep_s": 0.06}),
        "stuck": told(
            base, "Told", profile={**PROFILE, "stall": "3s", "max_concurrent": 1, "batch": 2}, retry=RETRY
        ),
        "tape": told(base, "Tape", every="1s", profile=PROFILE, retry=RETRY, options={"step": 20}),
        "notes": local_files(base / "folder", watch=True, profile={**PROFILE, "batch": 8}, retry=RETRY),
    }


def run(seed: int, base: Path, faults: int = 25, *, keep: bool = False) -> Report:
    """So many kills on one state folder."""
    with scene(NAME, seed, base, sources, keep=keep, workers=3, cpu=4.0) as world:
        files = Files(world)
        chance = random.Random(f"client {seed}")
        client = Client(world, lambda: _batch(world, chance), 0.004, 400)
        client.start()
        try:
            for _ in range(faults):
                _one(world, client, files)
            client.close()
            world.start()
            _release(world)
            world.idle()
            assert world.farm.stop() == 0, world.farm.said()
            files.write(0)
            world.drain()
            world.settle(documents_of={"notes": files.names})
        finally:
            client.close()
    return world.report


def _one(world: World, client: Client, files: Files) -> None:
    """One life of the farm, and its sudden end."""
    chance, farm = world.chance, world.farm
    early = chance.random() < 0.15
    moment_s = chance.uniform(0.0, 0.6) if early else chance.expovariate(1 / 0.25)
    at_once, unguarded = chance.random() < 0.4, chance.random() < 0.15
    changes, meddles, aim = chance.randrange(4), chance.random(), chance.randrange(8)
    last = _newest_attempt(world)
    began = time.monotonic()
    farm.start(ready=False)
    client.resume()
    if not early:
        until(lambda: farm._answers(), 30, every_s=0.005)
        files.write(changes)
        world.submit("work", [world.key("ok")])
        until(
            lambda: world.lives() and _newest_attempt(world) > last,
            30,
            every_s=0.005,
            what=f"work after a restart\n{farm.said()}",
        )
        recovered_s = time.monotonic() - began
        world.report.figures[f"{RECOVERY} on {_how_busy()} machine"].append(recovered_s)
        spent = proc.stat(farm.pid)
        world.report.figures["recovery, CPU seconds of the farm process"].append(
            spent.cpu_s if spent else 0.0
        )
        _meddle(world, meddles)
    if aim < len(AIMS) and not early:
        members = world.members()
        AIMS[aim](world)
        world.report.faults[f"{OF_THESE}{(AIMS[aim].__doc__ or '').rstrip('.')}"] += 1
    else:
        time.sleep(min(moment_s, 1.5))  # the moment is what chance decides
        members = world.members()
    world.report.faults[
        "SIGKILL of the farm while it starts" if early else "SIGKILL of the farm at work"
    ] += 1
    if unguarded:
        _kill_guard(world)
    killed = time.monotonic()
    farm.kill()
    members = sorted({*members, *world.members()})  # also what began since
    if unguarded:
        # Nobody is left to tidy up but the workers themselves, and the next start: after that all are gone.
        farm.start(ready=False)
        until(farm._answers, 30, every_s=0.005)
        world.gone([m for m in members if m[0] != farm.pid], time.monotonic())
        members, killed = world.members(), time.monotonic()
        farm.kill()
        world.gone(members, killed)
        return
    if not at_once:
        world.gone(members, killed)
        if (world.home / "store.db").exists():
            world.look()
        return
    # The next farm comes at once, beside the guard of the dead one.
    farm.start(ready=False)
    world.gone([m for m in members if m[0] != farm.pid], killed)
    until(farm._answers, 30, every_s=0.005)
    world.look(doctor=False)
    world.report.faults["SIGKILL of a farm that follows at once"] += 1
    members, killed = world.members(), time.monotonic()
    farm.kill()
    world.gone(members, killed)
    world.look()


def _how_busy() -> str:
    """By the processes that would run at once, the harness and the farm among them."""
    return "a busy" if os.getloadavg()[0] > BUSY_LOAD * (os.cpu_count() or 1) else "a calm"


def _at_ack(world: World) -> None:
    """as soon as the farm has acknowledged something."""
    world.submit(
        "work", [world.key("ok") for _ in range(5)], then=lambda: os.kill(world.farm.pid, signal.SIGKILL)
    )


def _at_end(world: World) -> None:
    """as soon as a job's END line is in a spool."""
    world.submit("slow", [world.key("ok") for _ in range(6)])

    def ended() -> bool:
        for path in (world.home / "spool").glob("*.jsonl"):
            with contextlib.suppress(OSError):
                if b'{"type":"END"' in path.read_bytes():
                    return True
        return False

    with contextlib.suppress(AssertionError):
        until(ended, 0.5, every_s=0.0005)


def _at_landing(world: World) -> None:
    """as soon as something has landed."""
    world.submit("work", [world.key("ok") for _ in range(3)])
    _until_store_says(world, "SELECT max(attempt_id) FROM landing")


def _at_cursor(world: World) -> None:
    """as soon as a cursor has moved."""
    with contextlib.suppress(FarmError):
        world.farm.call("run", source="tape")
    moved = _until_store_says(
        world,
        "SELECT value ->> 'tape', (SELECT count(*) FROM record WHERE source = 'tape')"
        " FROM cursor WHERE source = 'tape'",
    )
    if moved:  # as any reader saw both in one moment, and so as a kill in that moment would leave it
        at, records = moved
        ahead = [f"tape: the cursor is at {at}, {records} records have landed"] if records != at else []
        world._complain("oracle", ahead)


def _at_child(world: World) -> None:
    """together with a worker whose job's program runs in a session of its own."""
    world.submit("slow", [world.key("child")])

    def programs() -> list[proc.Stat]:
        found = []
        for pid in world.farm.processes():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text() == "sleep\n" and (stat := proc.stat(pid)):
                    found.append(stat)
        return found

    with contextlib.suppress(AssertionError):
        for program in until(programs, 1.0, every_s=0.005):
            with contextlib.suppress(ProcessLookupError):
                os.kill(program.parent, signal.SIGKILL)


def _until_store_says(world: World, sql: str) -> Any:
    """Something else than at first; that, or None when it does not."""
    with contextlib.closing(open_reader(world.home / "store.db")) as db:
        first = db.execute(sql).fetchone()

        def news() -> Any:
            found = db.execute(sql).fetchone()
            return found if found != first else None

        with contextlib.suppress(AssertionError):
            return until(news, 0.5, every_s=0.0002)
    return None


AIMS = (_at_ack, _at_end, _at_landing, _at_cursor, _at_child)
"""Moments at which a kill hits a gap between two steps; chance alone would seldom find them."""


def _kill_guard(world: World) -> None:
    """The guard goes first; the farm, stopped meanwhile, cannot post another."""
    os.kill(world.farm.pid, signal.SIGSTOP)
    for pid in proc.children(world.farm.pid):
        with contextlib.suppress(OSError):
            if b"farm.workers.guard" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
                world.report.faults["SIGKILL of the farm and of its guard"] += 1


def _newest_attempt(world: World) -> int:
    if not (world.home / "ledger.db").exists():
        return 0
    try:
        return int(world.farm.ledger("SELECT coalesce(max(id), 0) FROM attempt")[0][0])
    except (FarmError, sqlite3.Error):
        return 0  # the file is there, and not yet its tables


def _batch(world: World, chance: random.Random) -> tuple[str, list[str]]:
    luck = chance.random()
    if 0.87 < luck <= 0.97:
        return "tape", []
    if luck > 0.97:
        return "stuck", [world.key(chance.choice(["stop", "child"]))]
    source = "slow" if luck < 0.2 else "work"
    kinds = chance.choices(["ok", "retry", "bad", "perm"], [80, 12, 4, 4], k=chance.choice([1, 2, 5, 20]))
    return source, [world.key(kind) for kind in kinds[: 3 if source == "slow" else None]]


def _meddle(world: World, luck: float) -> None:
    """An operator at work."""
    with contextlib.suppress(FarmError):
        if luck < 0.2:
            world.farm.call("retry_jobs", all=True, source="work")
        elif luck < 0.3:
            world.farm.call("pause_jobs", all=True, source="work")
            world.farm.call("resume_jobs", all=True, source="work")
        elif luck < 0.4:
            world.farm.call("run", source="notes", type="full")
        elif luck < 0.5:
            world.farm.call("pause_jobs", all=True, source="slow")


def _release(world: World) -> None:
    world.farm.call("resume_jobs", all=True)


class Files:
    """The watched folder, changed by a person who does not ask whether a farm runs."""

    def __init__(self, world: World) -> None:
        self._folder, self._chance = world.base / "folder", world.chance
        self.names: set[str] = set()
        self._n = 0

    def write(self, changes: int) -> None:
        for _ in range(changes):
            self._n += 1
            luck = self._chance.random()
            if luck < 0.6 or not self.names:
                self._put(f"file{self._n}.txt")
            elif luck < 0.8:
                self._put(self._chance.choice(sorted(self.names)))
            else:
                name = self._chance.choice(sorted(self.names))
                (self._folder / name).unlink()
                self.names.discard(name)

    def _put(self, name: str) -> None:
        (self._folder / name).write_text(f"{name} in its edition {self._n}\n" + "words of a file " * 20)
        self.names.add(name)
