"""Time: steps of the wall clock by an hour and by ten years, both changes of daylight saving, and a suspend.

One farm lives through all of them with work under way. No job may be called late that was not, none may run
twice or wait for years, and of the runs that were missed exactly one is made up for.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.resilience.harness import Report, World, scene, told, until
from tests.resilience.wallclock import WallClock
from tests.support.farms import local_files

NAME = "clocks"
HOUR_S, YEARS_S = 3600.0, 10 * 365.25 * 86400.0
STEPS = {"+1 h": HOUR_S, "-1 h": -HOUR_S, "+10 years": YEARS_S, "-10 years": -YEARS_S}
TIMEOUT_S, STALL_S = 2.0, 1.5
LISTED = tuple(f"ok-listed{n}" for n in range(6))
PROFILE = {"cpu": 0.1, "memory": "128MB", "max_concurrent": 2, "batch": 2}
RETRY = {"max_attempts": 5, "base": "1s", "max": "1s", "jitter": 0.0}
WAIT_S = 60.0
LOOKS_AT_CELLS_S = 0.3
"""The watch looks at running jobs every tenth of a second."""
LOOKS_S = 1.6
"""The clock's thread looks every second: so long nothing more may come of a step."""


def sources(base: Path, chance: random.Random) -> dict[str, dict[str, Any]]:
    (base / "folder").mkdir(parents=True)
    limits = {**PROFILE, "timeout": f"{TIMEOUT_S:g}s", "stall": f"{STALL_S:g}s"}
    return {
        "work": told(base, "Told", profile=limits, retry=RETRY, options={"sleep_s": 0.5}),
        "hourly": told(base, "Told", profile=PROFILE, retry=RETRY, every="1h"),
        "daily": told(
            base, "Told", profile=PROFILE, retry=RETRY, cron="30 2 * * *", timezone="Europe/Berlin"
        ),
        "lister": told(base, "Told", profile=PROFILE, retry=RETRY, options={"units": LISTED, "sleep_s": 0.2}),
        "notes": local_files(base / "folder", profile=PROFILE, retry=RETRY),
    }


def run(seed: int, base: Path, faults: int = 4, *, keep: bool = False) -> Report:
    """Steps in an order of chance, then daylight saving, then a suspend."""
    with scene(NAME, seed, base, sources, keep=keep, workers=4, cpu=4.0) as world:
        clock = WallClock(world.base)
        path = ":".join(
            filter(None, (world.farm.environment["PYTHONPATH"], clock.environment.get("PYTHONPATH")))
        )
        world.farm.environment |= {**clock.environment, "PYTHONPATH": path}
        world.start()
        _runs(world, "hourly", 1)
        files = 0
        for turn in range(max(1, faults // 4)):
            steps = list(STEPS)
            world.chance.shuffle(steps)
            for name in steps:
                files += 1
                _step(world, clock, name, first=turn == 0, number=files)
        clock.step_s = 0.0
        _caught_up(world)
        _daylight_saving(world, clock)
        for first_up in ("workers", "farm"):
            _suspend(world, first_up)
        _none_was_late(world)
        assert world.farm.stop() == 0, world.farm.said()
        world.oracle.asks("lister", LISTED)
        world.settle()
    return world.report


def _step(world: World, clock: WallClock, name: str, *, first: bool, number: int) -> None:
    """One step with jobs running, one waiting for its retry, a listing under way, and a file that went."""
    listing = first and STEPS[name] < 0
    world.submit("work", [world.key("ok"), world.key("retry"), world.key("ok")])
    (world.base / "folder" / f"{number}.txt").write_text(f"file number {number}")
    world.farm.call("run", source="notes")
    _until_landed(world, "notes", f"{number}.txt", there=True)
    until(
        lambda: world.farm.ledger("SELECT 1 FROM job WHERE source = 'work' AND state = 'retrying'"),
        WAIT_S,
        what=f"a job that waits for its retry\n{world.farm.said()}",
    )
    if listing:
        world.farm.call("run", source="lister", type="replay")
        until(
            lambda: world.farm.ledger("SELECT 1 FROM job WHERE source = 'lister' AND state = 'running'"),
            WAIT_S,
        )
    before = _count(world, "hourly"), _count(world, "daily")
    clock.step_s += STEPS[name]
    world.report.faults[f"step of the wall clock by {name} ({clock.how})"] += 1
    forward = STEPS[name] > 0
    (world.base / "folder" / f"{number}.txt").unlink()
    world.farm.call("run", source="notes")
    _until_landed(world, "notes", f"{number}.txt", there=False)
    world.idle(WAIT_S)  # a retry that was due in a second is not due in ten years
    _runs(world, "hourly", before[0] + forward)
    if name == "+10 years" and first:
        _runs(world, "daily", before[1] + 1)  # later it is the same night again, whose run has been
    next_at = world.farm.ledger("SELECT next_fire_at FROM schedule WHERE source = 'hourly'")[0][0]
    if forward:
        wrong = next_at > clock.now() + HOUR_S + 5
        world._complain(
            "schedule", [f"hourly waits until {next_at - clock.now():.0f} s from now"] if wrong else []
        )
    if listing:
        cancelled = world.farm.ledger("SELECT key FROM job WHERE source = 'lister' AND state = 'cancelled'")
        world._complain("listing", [f"{key} was listed and cancelled as gone" for (key,) in cancelled])
    world.look()


def _caught_up(world: World) -> None:
    """Give the clock's thread the time to see that it is back."""
    world.idle(WAIT_S)
    time.sleep(LOOKS_S)
    world.idle(WAIT_S)


def _daylight_saving(world: World, clock: WallClock) -> None:
    """A daily run at half past two: the night that has no such time, and the one that has it twice."""
    for what, moment, more in (
        ("to the night in which clocks go forward", datetime(2027, 3, 28, 0, 50, tzinfo=UTC), 1),
        ("past the hour that the night skips", datetime(2027, 3, 28, 1, 35, tzinfo=UTC), 1),
        ("to the night in which clocks go back", datetime(2027, 10, 30, 23, 50, tzinfo=UTC), 1),
        ("past the first half past two", datetime(2027, 10, 31, 0, 35, tzinfo=UTC), 1),
        ("past the second half past two", datetime(2027, 10, 31, 1, 35, tzinfo=UTC), 0),
    ):
        before = _count(world, "daily")
        clock.set(moment.timestamp())
        world.report.faults[f"daylight saving: {what}"] += 1
        _runs(world, "daily", before + more)
    world.look()


def _suspend(world: World, first_up: str) -> None:
    """Everything stands still for longer than every deadline, as a laptop that sleeps.

    What wakes first is not said: a farm that is up before its workers finds their jobs as they were.
    """
    world.submit("work", [world.key("ok") for _ in range(8)])
    until(lambda: len(world.farm.ledger("SELECT 1 FROM attempt WHERE outcome IS NULL")) >= 2, WAIT_S)
    others = [pid for pid in world.farm.processes() if pid != world.farm.pid]
    for pid in (world.farm.pid, *others):
        _signal(pid, signal.SIGSTOP)
    time.sleep(TIMEOUT_S + STALL_S)  # longer than each of them
    if first_up == "farm":
        _signal(world.farm.pid, signal.SIGCONT)
        world.farm.call("status_live")
        time.sleep(LOOKS_AT_CELLS_S)
    for pid in (*others, world.farm.pid):
        _signal(pid, signal.SIGCONT)
    world.report.faults["SIGSTOP of the whole tree for longer than every deadline"] += 1
    world.idle(WAIT_S)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _none_was_late(world: World) -> None:
    late = world.farm.ledger(
        "SELECT job_id, outcome FROM attempt WHERE outcome NOT IN ('succeeded', 'transient')"
    )
    world._complain("deadlines", [f"an attempt of job {job} was {outcome}" for job, outcome in late])


def _until_landed(world: World, source: str, key: str, *, there: bool) -> None:
    sql = "SELECT 1 FROM document WHERE source = ? AND key = ? AND deleted_at IS NULL"
    until(
        lambda: bool(world.farm.store(sql, source, key)) is there,
        WAIT_S,
        every_s=0.02,
        what=f"{key} to be {'there' if there else 'gone'}\n{world.farm.said()}",
    )


def _count(world: World, source: str) -> int:
    return int(world.farm.ledger("SELECT count(*) FROM run WHERE source = ?", source)[0][0])


def _runs(world: World, source: str, wanted: int) -> None:
    """Exactly so many runs, after a while in which there could be more."""
    until(lambda: _count(world, source) >= wanted, WAIT_S, every_s=0.02, what=f"run {wanted} of {source}")
    deadline = time.monotonic() + LOOKS_S
    while time.monotonic() < deadline and _count(world, source) <= wanted:
        time.sleep(0.1)
    found = _count(world, source)
    world._complain("schedule", [] if found == wanted else [f"{source} ran {found} times, not {wanted}"])
