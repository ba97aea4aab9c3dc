"""A source's own fuse: when the other side does not answer, its jobs wait instead of using up their attempts.

- closed: everything runs. Failures that accuse the other side, in a row, open it.
- open: nothing of the source starts until it has cooled. What still runs may end as it likes.
- half-open: one job at a time. One that gets through closes the fuse; one that accuses the other side again
  opens it for longer.

A Retry-After opens it at once, for as long as was asked. Outcomes that say nothing about the other side (a
crash, a timeout, our own shutdown) leave it as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from farm.core.job import Outcome

ACCUSING = frozenset({Outcome.TRANSIENT, Outcome.RATE_LIMITED, Outcome.DEPENDENCY})
ANSWERED = frozenset({Outcome.SUCCEEDED, Outcome.INVALID_INPUT})
"""Outcomes that show the other side answering, if only with rubbish."""


class Position(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class FusePolicy:
    """`failures` in a row open the fuse for `cool_s`, each time `multiplier` longer, up to `max_s`."""

    failures: int = 5
    cool_s: float = 15.0
    multiplier: float = 2.0
    max_s: float = 900.0


@dataclass(frozen=True, slots=True)
class Fuse:
    """The state of one source's fuse; a new one is closed."""

    failures: int = 0
    """In a row, since the other side last answered."""
    opened: int = 0
    """How often in a row it has opened."""
    until: float | None = None
    """Unix seconds at which it has cooled; None while closed."""
    message: str = ""
    """What the last failure said."""

    def position(self, now: float) -> Position:
        if self.until is None:
            return Position.CLOSED
        return Position.OPEN if now < self.until else Position.HALF_OPEN


CLOSED = Fuse()


def after(
    fuse: Fuse,
    outcome: Outcome,
    *,
    now: float,
    policy: FusePolicy,
    retry_after_s: float | None = None,
    message: str = "",
) -> Fuse:
    """The fuse after an attempt ended with `outcome` at `now`."""
    if outcome in ANSWERED:
        # While it is open, only launches from before still end: their luck does not shorten a Retry-After.
        return fuse if fuse.position(now) is Position.OPEN else CLOSED
    if outcome not in ACCUSING:
        return fuse
    failed = replace(fuse, failures=fuse.failures + 1, message=message or fuse.message)
    asked_s = retry_after_s if retry_after_s is not None and math.isfinite(retry_after_s) else 0.0
    match fuse.position(now):
        case Position.CLOSED if failed.failures >= policy.failures:
            return _opened(failed, now, policy, asked_s)
        case Position.CLOSED if asked_s > 0:
            return replace(failed, until=now + min(asked_s, policy.max_s))
        case Position.HALF_OPEN:
            return _opened(failed, now, policy, asked_s)
        case Position.OPEN if asked_s > 0:
            return replace(failed, until=max(fuse.until or now, now + min(asked_s, policy.max_s)))
        case _:
            return failed


def sentence(fuse: Fuse, now: float) -> str:
    """Why nothing of the source starts, for a person; empty while something may."""
    if fuse.until is None or fuse.position(now) is not Position.OPEN:
        return ""
    why = f": {fuse.message}" if fuse.message else ""
    failures = "1 failure" if fuse.failures == 1 else f"{fuse.failures} failures in a row"
    return f"its source is given a rest of {math.ceil(fuse.until - now)} s more after {failures}{why}"


def _opened(fuse: Fuse, now: float, policy: FusePolicy, asked_s: float) -> Fuse:
    # The exponent is bounded so that a fuse which has been opening for a year does not overflow.
    cool_s = min(policy.cool_s * policy.multiplier ** min(fuse.opened, 64), policy.max_s)
    return replace(fuse, opened=fuse.opened + 1, until=now + max(cool_s, min(asked_s, policy.max_s)))
