"""What the machine can give right now: cores and memory, within affinity, cgroup and settings."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")
MEMORY_SHARE = 0.75
"""Of what is available; the rest is left to whatever else runs on the machine."""


def cores(setting: float | None = None) -> float:
    """The smallest of affinity, cgroup quota and the setting."""
    limits = [float(len(os.sched_getaffinity(0)))]
    if (quota := _cpu_quota()) is not None:
        limits.append(quota)
    if setting is not None:
        limits.append(setting)
    return min(limits)


def memory_budget(held_bytes: int, setting: int | None = None) -> int:
    """Bytes the farm's jobs may take: a share of what is available beside what they hold already.

    A setting is an upper bound; what is really there bounds it further.
    """
    available = psutil.virtual_memory().available
    if (room := _cgroup_room()) is not None:
        available = min(available, room)
    real = int(available * MEMORY_SHARE) + held_bytes
    return real if setting is None else min(real, setting)


def _cpu_quota() -> float | None:
    """Cores that the cgroup's quota grants (v2, then v1)."""
    try:
        quota, period = (CGROUP / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        quota_us = int((CGROUP / "cpu/cpu.cfs_quota_us").read_text())
        return quota_us / int((CGROUP / "cpu/cpu.cfs_period_us").read_text()) if quota_us > 0 else None
    except (OSError, ValueError):
        return None


def _cgroup_room() -> int | None:
    """Bytes below the memory limit of this process's own cgroup."""
    for limit, usage in _memory_files():
        try:
            most, used = limit.read_text().strip(), int(usage.read_text())
        except (OSError, ValueError):
            continue
        if most.isdigit() and int(most) < 1 << 60:
            return max(0, int(most) - used)
    return None


def _memory_files() -> list[tuple[Path, Path]]:
    """(limit, usage) of the cgroup this process is in: v2, then v1."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    files = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base = CGROUP / path.lstrip("/")
            files.append((base / "memory.max", base / "memory.current"))
        elif "memory" in controllers.split(","):
            base = CGROUP / "memory" / path.lstrip("/")
            files.append((base / "memory.limit_in_bytes", base / "memory.usage_in_bytes"))
    return files
