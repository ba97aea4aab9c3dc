"""Durations and sizes as people write them in farm.toml. Pure."""

from __future__ import annotations

import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BYTES = {"b": 1} | {
    prefix + unit: base**power
    for power, prefix in enumerate("kmgt", start=1)
    for unit, base in (("", 1000), ("b", 1000), ("ib", 1024), ("i", 1024))
}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*")


def seconds(text: str | float) -> float:
    """A duration in seconds; ValueError says how to write one.

    >>> seconds("1h30m"), seconds("250ms"), seconds(90)
    (5400.0, 0.25, 90.0)
    """
    if isinstance(text, bool) or not isinstance(text, (str, int, float)):
        raise ValueError(f"{text!r} is not a duration: write it like 30s, 15m, 1h30m or 250ms")
    if not isinstance(text, str):
        return float(text)
    rest, total = text.strip().lower(), 0.0
    while rest and (part := _PART.match(rest)) and part[2] in _SECONDS:
        total += float(part[1]) * _SECONDS[part[2]]
        rest = rest[part.end() :]
    if rest or not text.strip():
        raise ValueError(f"{text!r} is not a duration: write it like 30s, 15m, 1h30m or 250ms")
    return total


def size(text: str | int) -> int:
    """A size in bytes; ValueError says how to write one.

    >>> size("256MB"), size("1.5GiB"), size(4096)
    (256000000, 1610612736, 4096)
    """
    if isinstance(text, int) and not isinstance(text, bool):
        return text
    part = _PART.fullmatch(text.strip().lower()) if isinstance(text, str) else None
    if part is None or part[2] not in _BYTES:
        raise ValueError(f"{text!r} is not a size: write it like 256MB, 1.5GB or 512MiB")
    return int(float(part[1]) * _BYTES[part[2]])
