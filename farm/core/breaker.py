"""A source's own fuse: when the other side does not answer, its jobs wait instead of using up their attempts.

- closed: everything runs. Failures that accuse the other side, in a row, open it. Only what says so accuses: it
  cannot be reached, or asks for patience. Any other failure is the job's own and has its retry policy.
- open: nothing of the source starts until it has cooled. What still runs may end as it likes.
- half-open: one job at a time. One that gets through closes the fuse; one that accuses the other side again
  opens it for longer.

A Retry-After opens it at once, for as long as was asked. Outcomes that say nothing about the other side (a
crash, a timeout, our own shutdown) leave it as it is.

It never gives a source up: the rests grow up to the longest, and after each of them one job tries.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from farm.core.job import Outcome

ASKED_MAX_S = 24 * 3600.0
"""A Retry-After beyond this is taken for a mistake and shortened."""
ANSWERED = frozenset({Outcome.SUCCEEDED, Outcome.INVALID_INPUT})
"""Outcomes that show the other side answering, if only with rubbish."""


class Position(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class FusePolicy:
    """`failures` in a row open the fuse for `cool_s`, each time `multiplier` longer, up to `max_s`.

    A Retry-After may ask for more than `max_s`.
    """

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
    unavailable: bool = False,
    retry_after_s: float | None = None,
    message: str = "",
) -> Fuse:
    """The fuse after an attempt ended with `outcome` at `now`; `unavailable`: the other side was out of reach."""
    if outcome in ANSWERED:
        # While it is open, only launches from before still end: their luck does not shorten a Retry-After.
        return fuse if fuse.position(now) is Position.OPEN else CLOSED
    if not accuses(outcome, unavailable):
        return fuse
    failed = replace(fuse, failures=fuse.failures + 1, message=message or fuse.message)
    asked_s = min(retry_after_s or 0.0, ASKED_MAX_S) if math.isfinite(retry_after_s or 0.0) else policy.max_s
    match fuse.position(now):
        case Position.CLOSED if failed.failures >= policy.failures:
            return _opened(failed, now, policy, asked_s)
        case Position.CLOSED if asked_s > 0:
            return replace(failed, until=now + asked_s)
        case Position.HALF_OPEN:
            return _opened(failed, now, policy, asked_s)
        case Position.OPEN if asked_s > 0:
            return replace(failed, until=max(fuse.until or now, now + asked_s))
        case _:
            return failed


def set_back(fuse: Fuse, before: float, now: float) -> Fuse:
    """The fuse after the wall clock was set back from `before`: it rests for what was left, and no longer.

    Infinity for `before`: nobody saw it, as after a start. Then no rest is longer than one could be asked for.

    >>> set_back(Fuse(until=1000.0), before=990.0, now=10.0).until
    20.0
    """
    if fuse.until is None:
        return fuse
    left_s = fuse.until - (now if math.isinf(before) else before)
    return replace(fuse, until=now + min(max(left_s, 0.0), ASKED_MAX_S))


def accuses(outcome: Outcome, unavailable: bool) -> bool:
    """Whether this ending accuses the other side."""
    return outcome is Outcome.RATE_LIMITED or (unavailable and outcome is Outcome.TRANSIENT)


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
    return replace(fuse, opened=fuse.opened + 1, until=now + max(cool_s, asked_s))
