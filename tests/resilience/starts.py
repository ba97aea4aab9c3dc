"""Many farms at once on one state folder: one owns it, each other one says so in a sentence and leaves.

The racers are forked from one process that has imported everything, so that they reach the lock together: on an
empty folder, beside the lock and the socket of a farm that was killed, beside a lock and a heartbeat page that
name the pid of an innocent process, and while a farm runs.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from farm.workers import proc
from farm.workers.beat import Beat
from tests.resilience.harness import Report, World, scene, told, until
from tests.support.farms import ROOT

NAME = "starts"
RACERS = """
import os, sys, time
import farm.supervisor, farm.workers.worker, farm.cli.start
from farm.cli import main
home, out, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
go = time.monotonic() + 0.05
pids = []
for i in range(n):
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(f"{out}/{i}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        time.sleep(max(0.0, go - time.monotonic()))
        sys.argv = ["farm", "--home", home, "start", "--no-progress"]
        sys.exit(main())
    pids.append(pid)
print(*pids, flush=True)
for i, pid in enumerate(pids):
    print(pid, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


def sources(base: Path, chance: random.Random) -> dict[str, dict[str, Any]]:
    return {"work": told(base, "Told")}


def run(seed: int, base: Path, faults: int = 50, *, keep: bool = False) -> Report:
    """So many racing starts, in four races."""
    with scene(NAME, seed, base, sources, keep=keep) as world:
        innocent = subprocess.Popen(["sleep", "600"])
        try:
            for turn, situation in enumerate((_empty, _killed, _reused, _running)):
                share = faults // 4 + (turn < faults % 4)
                _race(world, max(2, share), situation(world, innocent.pid), situation.__name__.strip("_"))
            alive = proc.stat(innocent.pid)
            world._complain(
                "innocent", [] if alive and not alive.gone else ["an innocent process was killed"]
            )
        finally:
            innocent.kill()
            innocent.wait()
        world.start()
        world.submit("work", [world.key("ok")])
        world.idle()
        assert world.farm.stop() == 0, world.farm.said()
        world.settle()
    return world.report


def _empty(world: World, innocent: int) -> int | None:
    return None


def _killed(world: World, innocent: int) -> int | None:
    """The lock's file, the socket and the pages of a farm that was killed lie there."""
    world.start()
    world.submit("work", [world.key("ok")])
    world.farm.kill()
    return None


def _reused(world: World, innocent: int) -> int | None:
    """What a dead farm left names a pid that somebody else has got meanwhile."""
    (world.home / "farm.lock").write_text(f"{innocent}\n")
    page = Beat(str(world.home / "beat" / "9-9.beat"), create=True)
    found = proc.stat(innocent)
    assert found is not None
    page.own(innocent, found.start - 1)
    page.close()
    return None


def _running(world: World, innocent: int) -> int | None:
    world.start()
    return world.farm.pid


def _race(world: World, n: int, owner: int | None, situation: str) -> None:
    out = world.base / "racers"
    out.mkdir(exist_ok=True)
    command = [sys.executable, "-c", RACERS, str(world.home), str(out), str(n)]
    racers = subprocess.Popen(
        command,
        env=world.farm.environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    assert racers.stdout is not None
    pids = [int(pid) for pid in racers.stdout.readline().split()]
    losers = n if owner else n - 1
    deadline = time.monotonic() + 60
    until(lambda: sum(_over(pid) for pid in pids) >= losers, 60, what=f"the end of {losers} of {n} racers")
    until(lambda: world.farm.call("ping")["pid"], 30, what="the winner's answer")
    winner = int(world.farm.call("ping")["pid"])
    wrong = []
    if owner is None:
        if winner not in pids or _over(winner):
            wrong.append(f"{winner} answers, which is none of the racers")
    elif winner != owner:
        wrong.append(f"{owner} ran, and now {winner} answers")
    if sum(not _over(pid) for pid in pids) != n - losers:
        wrong.append(f"{sum(not _over(pid) for pid in pids)} racers are left, not {n - losers}")
    for i, pid in enumerate(pids):
        said = (out / str(i)).read_text()
        if pid != winner and not (said.count("\n") == 1 and "a farm is already running" in said):
            wrong.append(f"racer {pid} said {said[-300:]!r}")
        elif pid != winner and str(winner) not in said:
            world.report.figures["told another pid than the winner's"].append(1.0)
    world.report.faults[f"racing start ({situation})"] += n
    if owner is None:
        os.kill(winner, 15)
        until(lambda: _over(winner), max(1.0, deadline - time.monotonic()), what="the winner's end")
    racers.wait(30)
    codes = dict(tuple(map(int, line.split())) for line in racers.stdout)
    racers.stdout.close()
    wrong[:0] = [
        f"racer {pid} ended with {codes[pid]}" for pid in pids if codes[pid] != (0 if pid == winner else 1)
    ]
    if owner is not None:
        assert world.farm.stop() == 0
    world._complain("racers", wrong)
    world.look(doctor=True)


def _over(pid: int) -> bool:
    found = proc.stat(pid)
    return found is None or found.gone
