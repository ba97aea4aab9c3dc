"""What happened in each step of time: pure functions from events to lists with a value for each step."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from farm.core.fairness import jain
from loadtest.figures import Span, covered, quantile

STEPS = 240
"""At most so many values in a row: the page stays small however long the record is."""
NICE_S = (0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600)

Row = list[float | None]


@dataclass(frozen=True, slots=True)
class Steps:
    """Equal steps from `start`, in Unix seconds."""

    start: float
    step_s: float
    n: int

    @classmethod
    def over(cls, start: float, end: float, most: int = STEPS) -> Steps:
        """As many as fit, of a length that a person would choose.

        >>> Steps.over(100.0, 130.0, most=100)
        Steps(start=100.0, step_s=0.5, n=60)
        """
        length = max(end - start, NICE_S[0])
        step = next((s for s in NICE_S if length / s <= most), length / most)
        return cls(start, step, max(1, math.ceil(length / step - 1e-9)))

    @property
    def x(self) -> list[float]:
        """Each step's beginning, in seconds from the start."""
        return [round(i * self.step_s, 3) for i in range(self.n)]

    @property
    def end(self) -> float:
        return self.start + self.n * self.step_s

    def index(self, at: float) -> int | None:
        i = int((at - self.start) // self.step_s)
        return i if 0 <= i < self.n else None

    def count(self, moments: Iterable[float]) -> Counter[int]:
        found: Counter[int] = Counter()
        for at in moments:
            if (i := self.index(at)) is not None:
                found[i] += 1
        return found


def rate(steps: Steps, moments: Iterable[float]) -> Row:
    """How many a second."""
    found = steps.count(moments)
    return [rounded(found[i] / steps.step_s) for i in range(steps.n)]


def counts(steps: Steps, moments: Iterable[float]) -> Row:
    """How many in each step."""
    found = steps.count(moments)
    return [float(found[i]) for i in range(steps.n)]


def quantiles(steps: Steps, points: Iterable[tuple[float, float]], qs: Sequence[float]) -> list[Row]:
    """Of the values that fall into each step; nothing where none do."""
    values: dict[int, list[float]] = defaultdict(list)
    for at, value in points:
        if (i := steps.index(at)) is not None:
            values[i].append(value)
    return [[rounded(quantile(values[i], q)) if i in values else None for i in range(steps.n)] for q in qs]


def spent(steps: Steps, held: Iterable[tuple[Span, float]]) -> list[float]:
    """Of spans with a weight each: weight times the share of each step that they fill."""
    total = [0.0] * steps.n
    for span, weight in held:
        first = max(0, int((span.start - steps.start) // steps.step_s))
        last = min(steps.n - 1, int((span.end - steps.start) // steps.step_s))
        for i in range(first, last + 1):
            start = steps.start + i * steps.step_s
            total[i] += weight * span.within(start, start + steps.step_s) / steps.step_s
    return total


def shares(rows: Mapping[str, Sequence[float]]) -> dict[str, Row]:
    """Percent of each step's sum.

    >>> shares({"a": [1.0, 0.0], "b": [3.0, 0.0]})
    {'a': [25.0, None], 'b': [75.0, None]}
    """
    sums = [sum(values) for values in zip(*rows.values(), strict=True)]
    return {
        name: [
            rounded(value / whole * 100) if whole else None for value, whole in zip(row, sums, strict=True)
        ]
        for name, row in rows.items()
    }


def trailing(row: Sequence[float], window: int) -> list[float]:
    """At each step the sum of the last so many, itself among them.

    >>> trailing([1.0, 2.0, 4.0], 2)
    [1.0, 3.0, 6.0]
    """
    return [sum(row[max(0, i + 1 - window) : i + 1]) for i in range(len(row))]


def jain_over(
    steps: Steps,
    got: Mapping[str, Sequence[float]],
    waits: Mapping[str, Sequence[tuple[float, float]]],
    weights: Mapping[str, float],
    window: int,
) -> Row:
    """Jain's index of the last so many steps, among the sources that had something waiting nearly all that time;
    `waits` merged."""
    sums = {name: trailing(row, window) for name, row in got.items()}
    row: Row = []
    for i in range(steps.n):
        end = steps.start + (i + 1) * steps.step_s
        start = max(steps.start, end - window * steps.step_s)
        wanting = [n for n in got if n in waits and _waited(waits[n], start, end) >= 0.95 * (end - start)]
        index = jain(sums[n][i] / weights[n] for n in wanting) if len(wanting) > 1 else None
        row.append(None if index is None else round(index, 4))
    return row


def _waited(merged: Sequence[tuple[float, float]], start: float, end: float) -> float:
    """Of the window, in seconds; only the intervals that may touch it are looked at."""
    first = max(0, bisect_right(merged, (start, math.inf)) - 1)
    return covered(merged[first : bisect_right(merged, (end, math.inf))], start, end)


def thinned(steps: Steps, points: Iterable[tuple[float, float]]) -> tuple[list[float], Row]:
    """Of the points in each step the lowest, the middle and the highest; in order of time, from the start."""
    some: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for at, value in points:
        if (i := steps.index(at)) is not None:
            some[i].append((at, value))
    kept: list[tuple[float, float]] = []
    for _, inside in sorted(some.items()):
        inside.sort(key=lambda point: point[1])
        kept += sorted({inside[0], inside[len(inside) // 2], inside[-1]})
    return [round(at - steps.start, 3) for at, _ in kept], [rounded(value) for _, value in kept]


def rounded(value: float) -> float:
    """To four digits: more cannot be seen, and costs room.

    >>> rounded(123456.7), rounded(0.123456)
    (123500.0, 0.1235)
    """
    return float(f"{value:.4g}")
