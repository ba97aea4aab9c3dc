"""Ending processes so that nothing is left: whole trees, orphans, and what an earlier farm left behind.

Rules:
- A process is its pid and its start time, never a pid alone.
- Freeze before killing. A stopped process neither forks nor exits, so from the top down the tree stands
  still; killing at once would race against programs that fork and exit faster than /proc can be read. It is
  stopped when its state says so, not when it was told to: a fork that was under way is finished first.
- One look that finds nobody proves nothing: between two reads a child may have moved from its dead parent
  to its reaper. Two looks in a row that find no pid, living or dead, that was not known, do. Likewise when
  looking through all processes: one that vanished while we looked may have been a stray with an heir.
- Reap only by pid: `waitpid(-1)` would steal the children of others.

Standard library only: the guard imports it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from farm.workers import proc
from farm.workers.beat import Beat

MARKER = "FARM_INSTANCE"
"""Environment variable of every process below a farm: `<home's mark>.<instance>:<cell>`."""

PATIENCE_S = 5.0


def mark_of(home: str) -> str:
    """Short name of a state folder, the same at every start."""
    return hashlib.sha1(os.path.realpath(home).encode("utf-8", "surrogateescape")).hexdigest()[:12]


def kill_tree(pid: int, start: int, patience_s: float = PATIENCE_S) -> bool:
    """Kill a process and all below it; True when none of them is left."""
    deadline = time.monotonic() + patience_s
    if not freeze(pid, start):
        return True
    while not _all_stopped({pid: start}) and time.monotonic() < deadline:
        pass
    return _kill([*_freeze_below(pid, deadline), (pid, start)], deadline)


def kill_below(pid: int, patience_s: float = PATIENCE_S) -> bool:
    """Kill all below a process, and not itself; True when none of them is left."""
    deadline = time.monotonic() + patience_s
    return _kill(_freeze_below(pid, deadline), deadline)


def kill_adopted(known: Collection[int], since: int, patience_s: float = PATIENCE_S) -> int:
    """Kill and reap this process's children that it did not start: orphans of dead workers.

    Its own children are `known`, or in its session, or older than `since` (a start time). Workers lead
    sessions of their own, so no orphan of theirs is in ours. Returns how many were ended.
    """
    me, ours = os.getpid(), os.getsid(0)

    def orphan(s: proc.Stat) -> bool:
        return s.session != ours and s.start >= since and s.pid not in known

    deadline = time.monotonic() + patience_s
    ended: set[int] = set()
    quiet = 0
    while quiet < 2 and time.monotonic() < deadline:
        _kill(_freeze_below(me, deadline, orphan), deadline)
        dead = [s.pid for s in map(proc.stat, proc.children(me)) if s and s.gone and orphan(s)]
        for pid in dead:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        quiet = 0 if dead else quiet + 1
        ended.update(dead)
    return len(ended)


def strays(home: str, vanished: set[int] | None = None) -> Iterator[tuple[int, int]]:
    """(pid, start) of living processes that any farm on this state folder has started.

    Known by the heartbeat pages in `home/beat`, by the session a worker led, and by the marker. Given as
    they are found, to be frozen at once. Adds to `vanished` those that died before they could be looked at.
    """
    sessions: set[int] = set()
    found: set[int] = set()
    for beat in pages(home):
        worker, tree = beat.owner(), beat.tree()
        beat.close()
        if worker[0]:
            sessions.add(worker[0])
        for pid, start in (worker, *tree):
            if pid and proc.alive(pid, start):
                found.add(pid)
                yield pid, start
    mark = f"\0{MARKER}={mark_of(home)}.".encode()
    me = os.getpid()
    for pid in _orphans_first():
        if pid == me or pid in found:
            continue
        environment = proc.environment(pid)
        marked = mark in environment and not _tidies_up(pid)
        if not marked and not sessions and environment:
            continue
        s = proc.stat(pid)
        if s is None or s.gone:
            if vanished is not None:
                vanished.add(pid)
        elif marked or s.session in sessions:
            found.add(pid)
            yield pid, s.start


def _orphans_first() -> Iterator[int]:
    """All pids, newest first; before them the orphans, as soon as they are listed: who forks and exits all
    the time is one of them, and will be another one soon."""
    for heir in (1, os.getppid()):
        yield from reversed(proc.children(heir))
    yield from sorted(proc.pids(), reverse=True)


def sweep(home: str, patience_s: float = PATIENCE_S) -> int:
    """Kill what earlier farms left on this state folder; returns how many processes that was."""
    deadline = time.monotonic() + patience_s
    ended: set[tuple[int, int]] = set()
    gone: set[int] = set()
    quiet = 0
    while quiet < 6 and time.monotonic() < deadline:
        vanished: set[int] = set()
        frozen = [s for s in strays(home, vanished) if freeze(*s)]
        for pid, start in frozen:
            kill_tree(pid, start, patience_s)
        doubt = bool(ended and vanished - gone)  # on a busy machine somebody always vanishes: it counts, less
        quiet = 0 if frozen else quiet + (1 if doubt else 3)
        ended.update(frozen)
        gone |= vanished
    return len(ended)


def pages(home: str) -> Iterator[Beat]:
    """The heartbeat pages that lie in a state folder."""
    for path in Path(home, "beat").glob("*.beat"):
        with contextlib.suppress(OSError, ValueError):
            yield Beat(str(path))


def freeze(pid: int, start: int) -> bool:
    """Stop a process where it is; False when it is not there."""
    return _signal(pid, start, signal.SIGSTOP)


def _freeze_below(
    root: int, deadline: float, wanted: Callable[[proc.Stat], bool] = lambda s: True
) -> list[tuple[int, int]]:
    """Stop all below the root (of its direct children, the wanted ones); the living, nearest first."""
    seen: dict[int, int] = {}
    quiet = 0
    while quiet < 2 and time.monotonic() < deadline:
        still = not _freeze_pass(root, wanted, seen) and _all_stopped(seen)
        quiet = quiet + 1 if still else 0
    return [(pid, start) for pid, start in seen.items() if start]


def _all_stopped(seen: dict[int, int]) -> bool:
    """Forgets those who died instead."""
    for pid in [pid for pid, start in seen.items() if start]:
        s = proc.stat(pid)
        if s is None or s.gone or s.start != seen[pid]:
            seen[pid] = 0
        elif not s.stopped:
            time.sleep(0.0002)
            return False
    return True


def _freeze_pass(root: int, wanted: Callable[[proc.Stat], bool], seen: dict[int, int]) -> bool:
    """One walk down; adds to `seen` (0 for the dead and the unwanted). True when it met anybody new."""
    news = False
    parents = [root]
    while parents:
        parent = parents.pop()
        for pid in reversed(proc.children(parent)):
            if pid not in seen:
                s = proc.stat(pid)
                if s is None or s.gone:
                    seen[pid], news = 0, True
                elif parent == root and not wanted(s):
                    seen[pid] = 0
                else:
                    _signal(pid, s.start, signal.SIGSTOP)
                    seen[pid], news = s.start, True
            if seen[pid]:
                parents.append(pid)
    return news


def _kill(processes: Iterable[tuple[int, int]], deadline: float) -> bool:
    processes = list(processes)
    for pid, start in processes:
        _signal(pid, start, signal.SIGKILL)
    wait_s = 0.0002
    for pid, start in processes:
        while proc.alive(pid, start):
            if time.monotonic() > deadline:
                return False
            time.sleep(wait_s)
            wait_s = min(0.01, wait_s * 2)
    return True


def _tidies_up(pid: int) -> bool:
    """multiprocessing's resource tracker ends by itself when the others have, and removes semaphores first."""
    try:
        return b"multiprocessing.resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _signal(pid: int, start: int, number: signal.Signals) -> bool:
    found = proc.stat(pid)
    if found is None or found.start != start or found.gone:
        return False
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
