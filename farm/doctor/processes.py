"""The process table: the farm that runs, and what no farm answers for."""

from __future__ import annotations

from pathlib import Path

from farm import control
from farm.doctor.finding import Finding, judged, lasting
from farm.errors import FarmError
from farm.home import owner
from farm.workers import proc, reaper

PATIENCE_S = 3.0
"""What a farm that was just killed leaves is ended within this time, by its guard."""


def the_farm(home: Path) -> Finding:
    """Whether one runs, and answers."""
    pid = owner(home)
    if pid is None:
        return Finding("farm", True, "not running")
    found = proc.stat(pid)
    if found is not None and found.state in "Tt":
        return Finding("farm", False, f"process {pid} is stopped: `kill -CONT {pid}` lets it go on")
    try:
        control.call(home, "ping", timeout_s=5.0)
    except FarmError:
        return Finding(
            "farm", True, f"process {pid} holds the state folder: starting, stopping, or a command"
        )
    return Finding("farm", True, f"running (process {pid})")


def no_strays(home: Path) -> Finding:
    """No process bears this farm's mark but what is below the farm that runs."""

    def look() -> list[tuple[int, int]]:
        marked = reaper.strays(str(home))
        holder = owner(home)
        below = {holder, *(each.pid for each in proc.descendants(holder))} if holder else set()
        return [(pid, start) for pid, start in marked if pid not in below]

    strays = [f"process {pid} ({_name(pid)})" for pid, _ in lasting(look, PATIENCE_S)]
    return judged("no stray process is left", strays)


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return "gone"
