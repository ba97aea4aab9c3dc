"""Ending processes so that nothing is left: whole trees, orphans, and what an earlier farm left behind.

Rules: a process is its pid and its start time, never a pid alone. Freeze the root first, so that the tree
stops growing from it; kill from below until nothing is there; only then kill the root. Reap only by pid:
`waitpid(-1)` would steal the children of others. Standard library only: the guard imports it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import time
from collections.abc import Collection, Iterator

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
    if not _signal(pid, start, signal.SIGSTOP):
        return True
    while below := proc.descendants(pid):
        for process in below:
            _signal(process.pid, process.start, signal.SIGKILL)
        if time.monotonic() > deadline:
            break
        time.sleep(0.0005)
    _signal(pid, start, signal.SIGKILL)
    return _until_gone([(pid, start)], deadline) and not below


def kill_all(processes: Collection[tuple[int, int]], patience_s: float = PATIENCE_S) -> bool:
    """Kill these trees; True when none of their roots is left."""
    for pid, start in processes:
        _signal(pid, start, signal.SIGSTOP)
    return all([kill_tree(pid, start, patience_s) for pid, start in processes])


def kill_adopted(known: Collection[int], since: int, patience_s: float = PATIENCE_S) -> int:
    """Kill and reap this process's children that it did not start: orphans of dead workers.

    Its own children are `known`, or in its session, or older than `since` (a start time). Workers lead
    sessions of their own, so no orphan of theirs is in ours. Returns how many were ended.
    """
    ours = os.getsid(0)
    ended: set[int] = set()
    deadline = time.monotonic() + patience_s
    while True:
        strays = [
            s
            for s in map(proc.stat, proc.children(os.getpid()))
            if s is not None and s.session != ours and s.start >= since and s.pid not in known
        ]
        if not strays or time.monotonic() > deadline:
            return len(ended)
        for stray in strays:
            if not stray.gone:
                kill_tree(stray.pid, stray.start, 1.0)
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(stray.pid, os.WNOHANG)[0]:
                    ended.add(stray.pid)


def strays(home: str, keep: str = "", deep: bool = True) -> list[tuple[int, int]]:
    """(pid, start) of living processes of any farm on this state folder but the instance `keep`.

    Known by the heartbeat pages in `home/beat`, by the session a worker led, and by the marker.
    """
    found: dict[int, int] = {}
    sessions: set[int] = set()
    if not keep:
        for beat in pages(home):
            pid, start = beat.owner()
            sessions.add(pid)
            for known in [(pid, start), *beat.tree()]:
                if proc.alive(*known):
                    found[known[0]] = known[1]
            beat.close()
    sessions.discard(0)
    mark = f"\0{MARKER}={mark_of(home)}.".encode()
    kept = f"{mark.decode()}{keep}:".encode() if keep else b""
    me = os.getpid()
    for pid in proc.pids() if deep else ():
        if pid == me or pid in found:
            continue
        environment = proc.environment(pid)
        marked = mark in environment and not (kept and kept in environment)
        status = proc.stat(pid) if marked or sessions else None
        if status is not None and not status.gone and (marked or status.session in sessions):
            found[pid] = status.start
    return list(found.items())


def sweep(home: str, keep: str = "", patience_s: float = PATIENCE_S) -> int:
    """Kill what earlier farms left on this state folder; returns how many processes that was."""
    deadline = time.monotonic() + patience_s
    ended: set[tuple[int, int]] = set()
    while found := strays(home, keep):
        kill_all(found, 1.0)
        ended.update(found)
        if time.monotonic() > deadline:
            break
    return len(ended)


def pages(home: str) -> Iterator[Beat]:
    """The heartbeat pages that lie in a state folder."""
    folder = os.path.join(home, "beat")
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if name.endswith(".beat"):
                with contextlib.suppress(OSError, ValueError):
                    yield Beat(os.path.join(folder, name))


def freeze(pid: int, start: int) -> bool:
    """Stop a process where it is; False when it is not there."""
    return _signal(pid, start, signal.SIGSTOP)


def _signal(pid: int, start: int, number: signal.Signals) -> bool:
    found = proc.stat(pid)
    if found is None or found.start != start or found.gone:
        return False
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _until_gone(processes: Collection[tuple[int, int]], deadline: float) -> bool:
    wait_s = 0.0002
    while any(proc.alive(pid, start) for pid, start in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(wait_s)
        wait_s = min(0.01, wait_s * 2)
    return True
