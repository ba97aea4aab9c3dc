"""The arithmetic of the report: pure functions of events."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from farm.core.fairness import jain

Attempt = Mapping[str, object]


def quantile(values: Sequence[float], q: float) -> float:
    """The smallest value that at least a share q of the values does not exceed; nan of none.

    >>> quantile([4.0, 1.0, 3.0, 2.0], 0.5), quantile([1.0, 2.0], 0.99)
    (2.0, 2.0)
    """
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]


def median(values: Sequence[float]) -> float:
    """The middle one, or the mean of the middle two.

    >>> median([3.0, 1.0, 2.0]), median([1.0, 2.0])
    (2.0, 1.5)
    """
    if not values:
        return math.nan
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


@dataclass(frozen=True, slots=True)
class Span:
    """One launch: from its lease until the last of its jobs was over, with what it had reserved."""

    source: str
    start: float
    end: float
    cpu: float
    memory_bytes: int

    @property
    def wall_s(self) -> float:
        return max(0.0, self.end - self.start)

    def share(self, cpu: float, memory_bytes: float, cells: int) -> float:
        """The largest part it holds of any resource: what a second of it costs."""
        return min(1.0, max(self.cpu / cpu, self.memory_bytes / memory_bytes, 1 / cells))

    def within(self, start: float, end: float) -> float:
        """Its seconds inside the window.

        >>> Span("a", 1.0, 4.0, 1.0, 1).within(2.0, 9.0)
        2.0
        """
        return max(0.0, min(self.end, end) - max(self.start, start))


def over_at(attempt: Mapping[str, float | None]) -> float:
    """When the worker was done with it: settling comes later, when its room is long another's.

    An attempt without a measured time counts until it was settled.
    """
    started, wall_s, ended = attempt["started"], attempt["wall_s"], attempt["ended"]
    if started is not None and wall_s:
        return started + wall_s
    return ended or started or 0.0


def spans(attempts: Iterable[Mapping[str, float | None]], source_of: Mapping[int, str]) -> list[Span]:
    """The launches: attempts of one launch share one reservation, so they count once."""
    launches: dict[object, list[Mapping[str, float | None]]] = defaultdict(list)
    for attempt in attempts:
        launches[attempt["launch"]].append(attempt)
    return [
        Span(
            source_of[int(some[0]["job"] or 0)],
            min(a["leased"] or 0.0 for a in some),
            max(over_at(a) for a in some),
            max(a["cpu"] or 0.0 for a in some),
            int(max(a["memory_bytes"] or 0 for a in some)),
        )
        for some in launches.values()
    ]


def firsts(attempts: Iterable[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Each job's first attempt."""
    found: dict[int, dict[str, Any]] = {}
    for attempt in attempts:
        found.setdefault(attempt["job"], attempt)
    return found


@dataclass(frozen=True, slots=True)
class Peak:
    """The most that was held at any moment, and when."""

    cpu: float = 0.0
    memory_bytes: int = 0
    cells: int = 0


def peak(held: Iterable[Span]) -> Peak:
    """Replay: at each start the sums of what overlaps. One that ends as another starts has left.

    >>> peak([Span("a", 0, 2, 1.0, 5), Span("b", 1, 3, 0.5, 7), Span("a", 2, 4, 1.0, 5)])
    Peak(cpu=1.5, memory_bytes=12, cells=2)
    """
    events: list[tuple[float, int, Span]] = []
    for span in held:
        if span.end > span.start:
            events += [(span.start, 1, span), (span.end, 0, span)]
    cpu, memory, cells = 0.0, 0, 0
    most_cpu, most_memory, most_cells = 0.0, 0, 0
    for _, starts, span in sorted(events, key=lambda event: event[:2]):
        sign = 1 if starts else -1
        cpu += sign * span.cpu
        memory += sign * span.memory_bytes
        cells += sign
        most_cpu, most_memory, most_cells = (
            max(most_cpu, cpu),
            max(most_memory, memory),
            max(most_cells, cells),
        )
    return Peak(round(most_cpu, 6), most_memory, most_cells)


@dataclass(frozen=True, slots=True)
class Contest:
    """While several sources wanted more than they got: who got what."""

    start: float
    end: float
    got_s: dict[str, float]
    """Farm seconds of each source that waited all the time."""
    weights: dict[str, float]

    @property
    def jain(self) -> float:
        return jain(self.got_s[name] / self.weights[name] for name in self.got_s)

    @property
    def worst(self) -> float:
        """The largest relative distance of a share from what its weight entitles to."""
        total, weight = sum(self.got_s.values()), sum(self.weights[name] for name in self.got_s)
        if not total:
            return math.nan
        return max(abs(got / total / (self.weights[n] / weight) - 1) for n, got in self.got_s.items())


def contest(
    held: Sequence[Span],
    waits: Mapping[str, Sequence[tuple[float, float]]],
    weights: Mapping[str, float],
    cost_of_second: Mapping[int, float],
) -> Contest | None:
    """Resource time of the sources that all the time had something waiting.

    `waits`: per source, (came, leased) of each job. The window is what all sources have in common, from the
    first job's coming to the last one's lease; who had nothing waiting in more than a twentieth of it asked
    for less than its share, and does not take part. `cost_of_second`: by index of `held`.
    """
    if len(waits) < 2:
        return None
    start = max(min(came for came, _ in jobs) for jobs in waits.values())
    end = min(max(leased for _, leased in jobs) for jobs in waits.values())
    wanting = [name for name, jobs in waits.items() if covered(jobs, start, end) >= 0.95 * (end - start)]
    if end <= start or len(wanting) < 2:
        return None
    got = dict.fromkeys(wanting, 0.0)
    for i, span in enumerate(held):
        if span.source in got:
            got[span.source] += span.within(start, end) * cost_of_second[i]
    return Contest(start, end, got, {name: weights[name] for name in got})


def covered(intervals: Iterable[tuple[float, float]], start: float, end: float) -> float:
    """How much of the window lies in at least one of the intervals.

    >>> covered([(0, 2), (1, 3), (5, 9)], 1, 6)
    3.0
    """
    total, reached = 0.0, start
    for low, high in sorted(intervals):
        low, high = max(low, reached), min(high, end)
        if high > low:
            total += high - low
            reached = high
    return total


def rate(moments: Sequence[float], start: float | None = None) -> float:
    """A second, from `start` (or the first) to the last."""
    if not moments:
        return 0.0
    first, last = (min(moments) if start is None else start), max(moments)
    return len(moments) / (last - first) if last > first else math.nan


def series(moments: Iterable[float], start: float, step_s: float = 1.0) -> list[int]:
    """How many fell into each step.

    >>> series([10.1, 10.2, 12.5], 10.0)
    [2, 0, 1]
    """
    counts: dict[int, int] = defaultdict(int)
    for moment in moments:
        counts[int((moment - start) // step_s)] += 1
    return [counts[i] for i in range(max(counts) + 1)] if counts else []


def busy_share(held: Sequence[Span], start: float, end: float, cells: int) -> float:
    """How much of the cells' time in the window was taken."""
    if end <= start:
        return math.nan
    return sum(span.within(start, end) for span in held) / ((end - start) * cells)


def spread(values: list[float]) -> dict[str, float]:
    return {
        "median": median(values),
        "least": min(values),
        "most": max(values),
        "p99": quantile(values, 0.99),
        "n": len(values),
    }


def rise(counter: Iterable[float]) -> float:
    """By how much a counter rose; one that fell was begun anew.

    >>> rise([1.0, 4.0, 0.5, 2.5])
    5.0
    """
    total, before = 0.0, None
    for value in counter:
        if before is not None and value >= before:
            total += value - before
        before = value
    return total
