"""What a connector's jobs need: declared by its author, corrected by what was measured.

A reservation follows the recent samples: a high quantile, so that few jobs take more than was reserved, with
headroom, since the next job may be the largest yet, and within what was declared, so that a bad measurement
can neither starve the machine nor let everything in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

MIB = 1024 * 1024

ENOUGH = 5
"""Fewer samples than this and the declared figures stand."""

QUANTILE = 0.95
HEADROOM = 1.25
LEAST_SHARE = 8
"""A reservation never falls below memory / LEAST_SHARE: the worker itself needs room."""
LEAST_CPU = 0.05
RAISE = 1.5

FIRST_GUESS_S = 1.0
"""How long a job is taken to run before any has."""

LAUNCH_S = 0.25
"""Work aimed at in one launch: its overhead vanishes, and the sources still take turns."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The declared needs of one job of a source."""

    cpu: float = 1.0
    """Cores."""
    memory_bytes: int = 512 * MIB
    memory_max_bytes: int = 2048 * MIB
    """The most that a job may be given after it ran out of memory."""
    io: str = "low"
    """low, medium, high or very_high: for people and for nicer defaults, not for admission."""
    max_concurrent: int = 4
    """Launches at a time, of the source …"""
    max_concurrent_connector: int = 8
    """… and of all sources of the connector."""
    timeout_s: float = 300.0
    stall_s: float = 120.0
    batch: int = 1
    """The most jobs in one launch."""
    nice: int = 5


class Sample(msgspec.Struct, frozen=True):
    """What one job used, as measured."""

    wall_s: float
    cpu_s: float
    memory_peak_bytes: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """What the next job of a source's stage is given, and how long it is expected to run."""

    memory_bytes: int
    cpu: float
    wall_s: float


def reserve(profile: Profile, samples: Sequence[Sample]) -> Reservation:
    """The reservation that follows from the recent samples.

    memory: the 0.95 quantile of the peaks, a quarter on top, within [memory / 8, memory_max];
    cpu: the 0.95 quantile of cpu_s / wall_s within [0.05, declared];
    wall: the mean, the slowest twentieth counted as the 0.95 quantile, so that one hung job does not count
    and a tenth of slow ones does: `batch_size` multiplies it, which a median would not bear.
    """
    wall_s = _mean([s.wall_s for s in samples]) if samples else FIRST_GUESS_S
    if len(samples) < ENOUGH:
        return Reservation(profile.memory_bytes, profile.cpu, wall_s)
    peak = quantile([float(s.memory_peak_bytes) for s in samples], QUANTILE)
    memory = _whole_mib(peak * HEADROOM)
    least = profile.memory_bytes // LEAST_SHARE
    busy = [s.cpu_s / s.wall_s for s in samples if s.wall_s > 0]
    cpu = quantile(busy, QUANTILE) if busy else profile.cpu
    return Reservation(
        memory_bytes=min(max(memory, least), max(profile.memory_max_bytes, profile.memory_bytes)),
        cpu=min(max(cpu, LEAST_CPU), profile.cpu),
        wall_s=wall_s,
    )


def raised(profile: Profile, current_bytes: int, peak_bytes: int) -> int:
    """What to reserve after a job ran out of memory: half as much again as it had, up to memory_max.

    Never less than before, so a job that was already given the most is simply given the most again.
    """
    wanted = _whole_mib(max(current_bytes, peak_bytes) * RAISE)
    return max(current_bytes, min(wanted, profile.memory_max_bytes))


def batch_size(profile: Profile, reservation: Reservation, ready: int, cells: int) -> int:
    """How many of `ready` jobs to put into one launch, while `cells` cells could take some; at least 1.

    >>> short = Reservation(memory_bytes=MIB, cpu=1.0, wall_s=0.01)
    >>> batch_size(Profile(batch=64), short, ready=1000, cells=4)
    25
    >>> batch_size(Profile(batch=64), short, ready=12, cells=4)
    3
    """
    worth = LAUNCH_S / reservation.wall_s + 1e-9 if reservation.wall_s > 0 else math.inf
    fair = -(-ready // max(cells, 1))
    return max(1, int(min(profile.batch, worth, fair)))


def quantile(values: Sequence[float], q: float) -> float:
    """The smallest value that at least a share q of the values does not exceed.

    >>> quantile([4.0, 1.0, 3.0, 2.0], 0.5)
    2.0
    """
    return sorted(values)[_rank(len(values), q)]


def _mean(values: Sequence[float]) -> float:
    """With the slowest counted as the quantile."""
    ordered, rank = sorted(values), _rank(len(values), QUANTILE)
    return (sum(ordered[:rank]) + ordered[rank] * (len(ordered) - rank)) / len(ordered)


def _rank(n: int, q: float) -> int:
    return max(0, math.ceil(q * n) - 1)


def _whole_mib(size: float) -> int:
    return math.ceil(size / MIB) * MIB
