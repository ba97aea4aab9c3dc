"""When jobs arrive: pure. Each pacer yields the moments of its arrivals, in seconds from the start, forever.

>>> from itertools import islice
>>> list(islice(constant(rate=4), 3))
[0.0, 0.25, 0.5]
>>> list(islice(burst(size=2, every_s=10), 5))
[0, 0, 10, 10, 20]
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from itertools import count


def constant(rate: float) -> Iterator[float]:
    """`rate` a second, evenly."""
    return (n / rate for n in count())


def burst(size: int, every_s: float = 0.0) -> Iterator[float]:
    """`size` at once, again after `every_s`; with 0, all at once."""
    return (n // size * every_s for n in count())


def ramp(start_rate: float, end_rate: float, over_s: float) -> Iterator[float]:
    """From one rate to another, linearly over `over_s` seconds; then at the last one.

    The n-th arrival is where the integral of the rate reaches n.
    """
    slope = (end_rate - start_rate) / over_s
    total = (start_rate + end_rate) / 2 * over_s
    for n in count():
        if n >= total:
            if end_rate <= 0:
                return
            yield over_s + (n - total) / end_rate
        elif slope == 0:
            yield n / start_rate
        else:
            yield (math.sqrt(max(start_rate**2 + 2 * slope * n, 0.0)) - start_rate) / slope


def sine(mean_rate: float, amplitude: float, period_s: float) -> Iterator[float]:
    """Swings by `amplitude` (0..1 of the mean) around the mean rate.

    Inverts the integral m·t + m·a·T/2π · (1 - cos 2πt/T) by bisection; it never falls as a <= 1.
    """
    if not 0 <= amplitude <= 1:
        raise ValueError(f"amplitude must be from 0 to 1, not {amplitude}")
    swing = mean_rate * amplitude * period_s / (2 * math.pi)

    def arrived(t: float) -> float:
        return mean_rate * t + swing * (1 - math.cos(2 * math.pi * t / period_s))

    low = 0.0
    for n in count():
        high = low + 1 / mean_rate
        while arrived(high) < n:
            high += period_s
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if arrived(middle) < n else (low, middle)
        low = high
        yield high


def poisson(rate: float, chance: random.Random) -> Iterator[float]:
    """Independent arrivals, `rate` a second on average."""
    at = 0.0
    while True:
        at += chance.expovariate(rate)
        yield at
