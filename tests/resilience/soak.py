"""Soak: one farm, never ended, with a fault every ten seconds; what it holds afterwards is what it began with.

The faults are all but the farm's own death: workers killed, stopped and crashed, hung jobs, its fork server and
its guard killed, the whole tree suspended, clients that leave in the middle of a request, half a farm.toml on
reload, a watched folder that goes and comes back. Memory, descriptors, threads and cells are sampled at quiet
moments. A long soak first gives the farm a past that fills the databases' page caches: they grow with the files
up to their bound, and would be taken for a leak.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from farm.workers import proc
from tests.resilience.harness import HERE, Report, World, scene, told, until
from tests.support.farms import local_files

NAME = "soak"
EVERY_S = 10.0
LONG_S = 1800.0
PAGES, BARE = 30_000, 90_000
"""Units with a page of text, and without: they fill both page caches (32 MB each), the store's and the ledger's."""
CELLS = 3
PROFILE = {"cpu": 0.1, "memory": "160MB", "memory_max": "160MB", "max_concurrent": 8, "batch": 8}
RETRY = {"max_attempts": 4, "base": "50ms", "max": "100ms", "max_deaths": 1000}


def sources(base: Path, chance: random.Random) -> dict[str, dict[str, Any]]:
    (base / "folder").mkdir(parents=True)
    limits = {**PROFILE, "timeout": "20s", "stall": "1s"}
    return {
        "work": told(base, "Told", profile=limits, retry=RETRY),
        "tape": told(base, "Tape", every="2s", profile=PROFILE, retry=RETRY, options={"step": 5}),
        "notes": local_files(
            base / "folder",
            watch=True,
            profile={**PROFILE, "memory": "256MB", "memory_max": "256MB"},
            retry=RETRY,
        ),
        "past": {"connector": f"{HERE}:Past", "profile": {**PROFILE, "batch": 256}},
    }


def run(seed: int, base: Path, faults: int = 90, *, keep: bool = False, every_s: float = EVERY_S) -> Report:
    """So many faults, one every `every_s`; a duration is faults × every_s."""
    with scene(NAME, seed, base, sources, keep=keep, workers=CELLS, cpu=4.0) as world:
        world.start()
        if faults * every_s >= LONG_S:
            _give_it_a_past(world)
        memory: list[tuple[float, float]] = []
        began = time.monotonic()
        first: dict[str, int] | None = None
        for n in range(faults):
            world.submit("work", [world.key(kind) for kind in ["ok"] * 40 + ["retry"] * 4 + ["bad"]])
            (world.base / "folder" / f"{n % 20}.txt").write_text(f"file {n}")
            fault = world.chance.choice(FAULTS)
            fault(world)
            world.report.faults[(fault.__doc__ or "").rstrip(".")] += 1
            world.idle(60)
            if n % 10 == 9:
                world.look()
            while time.monotonic() - began < (n + 1) * every_s:
                time.sleep(0.2)
            held = _held(world.farm.pid)
            if n >= min(12, faults // 3):  # caches have filled, every kind of fault has been met
                first = first or held
                memory.append((time.monotonic() - began, held["memory, bytes"]))
        world.look()
        assert first is not None
        _compare(world, first, memory)
        assert world.farm.stop() == 0, world.farm.said()
        world.drain()
        names = {path.name for path in (world.base / "folder").iterdir()}
        world.settle(documents_of={"notes": names})
    return world.report


def _give_it_a_past(world: World) -> None:
    units = [{"key": f"page-{i}", "version": "old"} for i in range(PAGES)]
    units += [{"key": f"bare-{i}"} for i in range(BARE)]
    for start in range(0, len(units), 5_000):
        world.farm.call("submit", source="past", jobs=units[start : start + 5_000])
    world.idle(600)
    assert (world.home / "ledger.db").stat().st_size > 40e6
    assert (world.home / "store.db").stat().st_size > 40e6


def _held(pid: int) -> dict[str, int]:
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
    )
    return {
        "memory, bytes": int(status["RssAnon"].split()[0]) * 1024,
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": int(status["Threads"]),
    }


def _compare(world: World, first: dict[str, int], memory: list[tuple[float, float]]) -> None:
    """Back to where it began; what is still being given back has a few seconds."""
    wrong = []
    for what in ("descriptors", "threads"):
        lowest = min(_sampled(world.farm.pid, what))
        world.report.figures[f"{what}, at the end less at the beginning"].append(lowest - first[what])
        if lowest > first[what] + 3 * CELLS:
            wrong.append(f"{what}: {first[what]} at first, {lowest} at last")
    slope = _slope(memory) * 3600 / 1e6
    world.report.figures["memory slope, MB/h"].append(slope)
    world.report.figures["memory, first to last sample, MB"].append((memory[-1][1] - memory[0][1]) / 1e6)
    hours = (memory[-1][0] - memory[0][0]) / 3600
    if hours < 1:
        world.report.skipped["memory slope under 1 MB/h"] = (
            f"{hours * 60:.0f} minutes are too few to tell a slope from warming up: that takes hours"
        )
    if slope > 1.0 and hours > 1:
        wrong.append(f"memory grows by {slope:.1f} MB/h")
    if (memory[-1][1] - memory[0][1]) > 20e6:
        wrong.append(f"memory grew by {(memory[-1][1] - memory[0][1]) / 1e6:.0f} MB")
    cells = world.farm.call("status_live")["cells"]
    if len(cells) > CELLS or any(cell["launch_id"] is not None for cell in cells):
        wrong.append(f"cells at the end: {cells}")
    world._complain("resources", wrong)


def _sampled(pid: int, what: str) -> list[int]:
    found = []
    for _ in range(15):
        found.append(_held(pid)[what])
        time.sleep(0.2)
    return found


def _slope(points: list[tuple[float, float]]) -> float:
    """Of the least-squares line, per second."""
    n = len(points)
    x, y = sum(p[0] for p in points) / n, sum(p[1] for p in points) / n
    below = sum((p[0] - x) ** 2 for p in points)
    return sum((p[0] - x) * (p[1] - y) for p in points) / below if below else 0.0


# -- the faults; their docstrings stand in the table


def _kill_worker(world: World) -> None:
    """A worker is killed."""
    _signal_busy(world, signal.SIGKILL)


def _stop_worker(world: World) -> None:
    """A worker is stopped."""
    _signal_busy(world, signal.SIGSTOP)


def _crash(world: World) -> None:
    """Jobs crash, hang and swell."""
    world.submit("work", [world.key(kind) for kind in ("segv", "hang", "swell", "tornend")])


def _fork_server(world: World) -> None:
    """The fork server is killed."""
    for pid in proc.children(world.farm.pid):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"farm: nursery"):
                os.kill(pid, signal.SIGKILL)


def _guard(world: World) -> None:
    """The guard is killed."""
    for pid in proc.children(world.farm.pid):
        with contextlib.suppress(OSError):
            if b"farm.workers.guard" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)


def _suspend(world: World) -> None:
    """The whole tree stands still for three seconds."""
    members = [world.farm.pid, *(pid for pid in world.farm.processes() if pid != world.farm.pid)]
    for number, order in ((signal.SIGSTOP, members), (signal.SIGCONT, members[::-1])):
        for pid in order:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if number == signal.SIGSTOP:
            time.sleep(3.0)


def _rude_client(world: World) -> None:
    """Clients leave in the middle of a request."""
    for raw in (b'{"op": "status_live"', b'{"op": "ping", "args": {}, "actor": ""}\n', b"\xff\n", b""):
        with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
            client.connect(str(world.home / "farm.sock"))
            client.sendall(raw)


def _half_config(world: World) -> None:
    """Half a farm.toml is reloaded."""
    from farm.errors import FarmError

    whole = world.farm.config.read_bytes()
    with contextlib.suppress(FarmError):
        world.farm.config.write_bytes(whole[: whole.rindex(b"[sources.notes") + 20])
        world.farm.call("reload")
    world.farm.config.write_bytes(whole)
    world.farm.call("reload")


def _folder_goes(world: World) -> None:
    """The watched folder goes and comes back."""
    folder = world.base / "folder"
    folder.rename(world.base / "elsewhere")
    time.sleep(1.5)
    (world.base / "elsewhere").rename(folder)


FAULTS: list[Callable[[World], None]] = [
    _kill_worker,
    _stop_worker,
    _crash,
    _fork_server,
    _guard,
    _suspend,
    _rude_client,
    _half_config,
    _folder_goes,
]


def _signal_busy(world: World, number: signal.Signals) -> None:
    def busy() -> list[int]:
        return [c["pid"] for c in world.farm.call("status_live")["cells"] if c["launch_id"] is not None]

    with contextlib.suppress(AssertionError, ProcessLookupError):
        until(busy, 2.0)
        pid = (busy() or [0])[0]
        if pid:
            os.kill(pid, number)
