"""What a source's jobs need, measured in a real trial: a listing, and some of its units spread over all.

The proposals and where they come from:
- cpu      the 0.95 quantile of cpu seconds per second, of jobs long enough for the clock of the kernel
- memory   half as much again as the highest peak, the worker's own size included
- timeout  ten times the longest job, at least 30 s
- stall    three times the longest job, as far as the timeout goes: a job may be silent to its end
- batch    as many jobs as make a quarter of a second together
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from farm.connector import Line, Unit
from farm.core.job import Ending, Outcome, Stage
from farm.core.profile import LAUNCH_S, Profile, quantile
from farm.errors import FarmError
from farm.lines import Malformed
from farm.machine import cores
from farm.settings import Settings, SourceSettings
from farm.sources import TELLING
from farm.trial.bench import Bench
from farm.words import plural, size, span

MOST_UNITS = 100_000
LISTING_S = 120.0
"""A listing that takes longer is cut short, and not judged."""
TICK_S = 0.02
"""Shorter jobs use less than the kernel counts."""
LEAST_MEMORY_BYTES = 128_000_000
LEAST_TIMEOUT_S, LEAST_STALL_S = 30.0, 10.0
MOST_BATCH = 256
STEPS_S = (
    10,
    15,
    20,
    30,
    45,
    60,
    90,
    120,
    180,
    300,
    600,
    900,
    1800,
    3600,
    5400,
    7200,
    10800,
    21600,
    43200,
    86400,
)


def measure(
    settings: Settings, source: SourceSettings, samples: int = 20, home: Path | None = None
) -> dict[str, Any]:
    """Proposed values as farm.toml has them (cpu, memory, timeout, stall, batch: those that could be measured),
    `explanation` of each, and the figures `measured` per stage. Raises FarmError when nothing could be read."""
    units: list[Unit] = []

    def enough(line: Line | Malformed) -> bool:
        if isinstance(line, Unit):
            units.append(line)
        return len(units) >= MOST_UNITS

    with Bench(source, home) as bench:
        listing, whole = bench.discover(enough, timeout_s=LISTING_S)
        if listing.outcome is not Outcome.SUCCEEDED and not units:
            raise FarmError(f"{source.name} cannot be listed: {listing.message or listing.outcome}")
        endings = [tried.ending for tried in bench.extract(_spread(units, samples))]
    listings = [listing] if whole and listing.outcome in TELLING else []
    read = [ending for ending in endings if ending.outcome in TELLING]
    return {
        **_proposed(source.profile, listings, read, complete=listing.outcome is Outcome.SUCCEEDED),
        "measured": {
            str(stage): _figures(found)
            for stage, found in ((Stage.DISCOVER, listings), (Stage.EXTRACT, read))
            if found
        },
        "outcomes": _outcomes([*([listing] if whole else []), *endings]),
        "units": len(units),
    }


def _spread(units: Sequence[Unit], samples: int) -> list[Unit]:
    """So many of them, evenly spread: what lies together is often alike."""
    if len(units) <= samples:
        return list(units)
    return [units[i * (len(units) - 1) // max(samples - 1, 1)] for i in range(samples)]


def _proposed(
    profile: Profile, listings: Sequence[Ending], read: Sequence[Ending], *, complete: bool
) -> dict[str, Any]:
    jobs = [*listings, *read]
    if not jobs:
        return {"explanation": {"all": "nothing was measured: what is declared stays"}}
    ended = [e for e in jobs if e.outcome not in (Outcome.TIMED_OUT, Outcome.STALLED)]
    cut = len(jobs) - len(ended)
    longest = max((e.usage.wall_s for e in ended), default=0.0)
    peak = max(e.usage.memory_peak_bytes for e in jobs)
    values: dict[str, Any] = {}
    why: dict[str, str] = {}

    busy = [e.usage.cpu_s / e.usage.wall_s for e in jobs if e.usage.wall_s >= TICK_S]
    if not busy and (wall_s := sum(e.usage.wall_s for e in jobs)) > 0:
        busy = [sum(e.usage.cpu_s for e in jobs) / wall_s]
    if busy:
        used = quantile(busy, 0.95)
        values["cpu"] = min(max(math.ceil(used * 20) / 20, 0.05), float(math.ceil(cores())))
        why["cpu"] = f"most used up to {used:.2f} cores"
    if peak > 0:
        wanted = max(math.ceil(peak * 1.5 / 16e6) * 16_000_000, LEAST_MEMORY_BYTES)
        values["memory"] = (
            f"{min(wanted, max(profile.memory_max_bytes, profile.memory_bytes)) // 1_000_000}MB"
        )
        why["memory"] = f"the highest peak was {size(peak)}; half as much again"
    if cut:
        why["timeout"] = f"{plural(cut, 'job')} reached the time limit: what is declared stays"
    elif not complete:
        why["timeout"] = "the listing was cut short: what is declared stays"
    else:
        timeout_s = _nice(max(10 * longest, LEAST_TIMEOUT_S))
        stall_s = min(_nice(max(3 * longest, LEAST_STALL_S)), timeout_s)
        values["timeout"], values["stall"] = f"{timeout_s}s", f"{stall_s}s"
        why["timeout"] = (
            f"the longest job took {span(longest)}; ten times that, at least {span(LEAST_TIMEOUT_S)}"
        )
        why["stall"] = f"three times the longest job, at least {span(LEAST_STALL_S)}"
    if read and not cut:
        mean_s = statistics.fmean(e.usage.wall_s for e in read)
        values["batch"] = max(1, min(MOST_BATCH, int(LAUNCH_S / mean_s))) if mean_s > 0 else MOST_BATCH
        why["batch"] = f"a job took {span(mean_s)} on average; together {span(LAUNCH_S)}"
    return {**values, "explanation": why}


def _nice(seconds: float) -> int:
    """The next of the usual lengths of time."""
    return next((step for step in STEPS_S if step >= seconds), math.ceil(seconds / 86400) * 86400)


def _figures(endings: Sequence[Ending]) -> dict[str, Any]:
    walls = [e.usage.wall_s for e in endings]
    peaks = [e.usage.memory_peak_bytes for e in endings]
    return {
        "jobs": len(endings),
        "wall_s": {"median": round(statistics.median(walls), 4), "max": round(max(walls), 4)},
        "cpu_s": {"total": round(sum(e.usage.cpu_s for e in endings), 4)},
        "memory_peak_bytes": {"median": int(statistics.median(peaks)), "max": max(peaks)},
    }


def _outcomes(endings: Sequence[Ending]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for ending in endings:
        counts[str(ending.outcome)] = counts.get(str(ending.outcome), 0) + 1
    return counts
