"""What an examination yields, and how one looks twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

SHOWN = 3
MOST = 1000
"""Broken rows are counted up to here."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. `detail` says what is broken, or (ok) what is worth knowing."""

    check: str
    ok: bool
    detail: str = ""


def judged(check: str, broken: Sequence[object], fine: str = "") -> Finding:
    """Fine when nothing is broken.

    >>> judged("jobs have a ticket", ["job 3", "job 5"]).detail
    '2: job 3, job 5'
    """
    if not broken:
        return Finding(check, True, fine)
    count = f"over {MOST:,}" if len(broken) > MOST else f"{len(broken):,}"
    shown = ", ".join(str(row) for row in broken[:SHOWN])
    return Finding(check, False, f"{count}: {shown}{', …' if len(broken) > SHOWN else ''}")


def lasting(look: Callable[[], Iterable[T]], patience_s: float, every_s: float = 0.15) -> list[T]:
    """What every look finds until patience ends: work under way goes by, what is broken stays."""
    deadline = time.monotonic() + patience_s
    found = list(look())
    while found and time.monotonic() < deadline:
        time.sleep(every_s)
        again = set(look())
        found = [each for each in found if each in again]
    return found
