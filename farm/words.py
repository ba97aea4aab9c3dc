"""Numbers and times in words, for people and for programs. Pure and cheap to import.

Inside the code a time is Unix seconds; programs read ISO 8601, people read how long ago it was.
"""

from __future__ import annotations

import time
from typing import Any

_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


def iso(at: float) -> str:
    """UTC with milliseconds.

    >>> iso(1767225600.25)
    '2026-01-01T00:00:00.250Z'
    """
    whole, milliseconds = divmod(round(at * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{milliseconds:03d}Z"


def span(seconds: float) -> str:
    """A length of time in its largest unit.

    >>> [span(s) for s in (0.0004, 0.25, 12.3, 90, 7300, 200_000)]
    ['0 ms', '250 ms', '12 s', '2 min', '2 h', '2 d']
    """
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    for size, name in _UNITS:
        if seconds >= size * 1.5 or size == 1.0:
            return f"{seconds / size:.0f} {name}"
    raise AssertionError("the last unit takes everything")


def when(at: float | None, now: float) -> str:
    """How far from now.

    >>> when(1000, 1180), when(1000, 995), when(None, 0), when(1000, 1000.2)
    ('3 min ago', 'in 5 s', '', 'now')
    """
    if at is None:
        return ""
    if abs(at - now) < 1:
        return "now"
    return f"{span(now - at)} ago" if at < now else f"in {span(at - now)}"


def size(count: float | None) -> str:
    """Bytes in decimal units.

    >>> size(0), size(999), size(256_000_000), size(1_500_000_000), size(None)
    ('0 B', '999 B', '256 MB', '1.5 GB', '')
    """
    if count is None:
        return ""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5 or unit == "GB":
            return f"{count:.1f}".removesuffix(".0") + f" {unit}" if count < 10 else f"{count:.0f} {unit}"
        count /= 1000
    raise AssertionError("the last unit takes everything")


def plural(count: int, noun: str, many: str = "") -> str:
    """
    >>> plural(1, "job"), plural(1200, "job"), plural(2, "entry", "entries")
    ('1 job', '1,200 jobs', '2 entries')
    """
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"


def ordinal(number: int) -> str:
    """
    >>> [ordinal(n) for n in (1, 2, 3, 4, 11, 21, 112)]
    ['1st', '2nd', '3rd', '4th', '11th', '21st', '112th']
    """
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


def for_programs(value: Any) -> Any:
    """The same value with every time (a number under `at` or a key that ends in `_at`) as ISO 8601.

    >>> for_programs([{"id": 1, "due_at": 0.0, "in": {"started_at": None}}])
    [{'id': 1, 'due_at': '1970-01-01T00:00:00.000Z', 'in': {'started_at': None}}]
    """
    if isinstance(value, dict):
        return {
            key: iso(inner)
            if isinstance(inner, (int, float)) and (key == "at" or str(key).endswith("_at"))
            else for_programs(inner)
            for key, inner in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [for_programs(inner) for inner in value]
    return value
