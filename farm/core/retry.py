"""What follows an attempt that did not succeed: another one, quarantine, or back into the queue unharmed.

Three counters, kept apart, because they accuse different things:

- attempts: the connector said no, or the job ran past its timeout. `max_attempts` of these.
- deaths: the worker crashed, stalled, or took more memory than its cap. `max_deaths` of these.
- losses: the farm itself died under the job. `max_losses` of these, then the job is suspected.

An interrupted attempt (our own shutdown) counts nowhere, and neither does one that the other side put off
with a Retry-After. What can never work (invalid input, permanent) is not tried again unless an override says
so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from types import MappingProxyType

from farm.core.job import Outcome, Reason

RETRY_AFTER_MAX_S = 24 * 3600.0
"""A Retry-After beyond this is taken for a mistake and shortened."""


class Strategy(StrEnum):
    """How the delay grows from one attempt to the next."""

    EXPONENTIAL = "exponential"
    LINEAR = "linear"
    FIXED = "fixed"
    IMMEDIATE = "immediate"
    NONE = "none"
    """Never a second attempt."""


@dataclass(frozen=True, slots=True)
class Override:
    """What one outcome does differently; None keeps the policy's value."""

    max_attempts: int | None = None
    strategy: Strategy | None = None
    base_s: float | None = None
    multiplier: float | None = None
    max_s: float | None = None
    jitter: float | None = None


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When an attempt is repeated, and how often.

    `jitter` is the share of a delay that chance may take off (1: anything from nothing to the whole delay),
    so that jobs which failed together do not come back together, and never later than `max_s`.
    """

    max_attempts: int = 5
    strategy: Strategy = Strategy.EXPONENTIAL
    base_s: float = 10.0
    multiplier: float = 2.0
    max_s: float = 600.0
    jitter: float = 0.2
    max_deaths: int = 2
    max_losses: int = 5
    overrides: Mapping[Outcome, Override] = field(default_factory=dict)

    def of(self, outcome: Outcome) -> RetryPolicy:
        """The policy as it applies to this outcome."""
        override = self.overrides.get(outcome)
        if override is not None:
            changed = {
                f.name: value for f in fields(override) if (value := getattr(override, f.name)) is not None
            }
            return replace(self, **changed)
        return replace(self, max_attempts=1) if outcome in HOPELESS else self


HOPELESS = frozenset({Outcome.INVALID_INPUT, Outcome.PERMANENT})
"""Outcomes that another attempt would only repeat."""

STRIKES = frozenset({Outcome.CRASHED, Outcome.STALLED, Outcome.OUT_OF_MEMORY})
"""Outcomes counted as deaths."""

CLASSES: Mapping[str, RetryPolicy] = MappingProxyType(
    {
        "fast": RetryPolicy(max_attempts=4, base_s=1.0, max_s=30.0),
        "conservative": RetryPolicy(max_attempts=5, base_s=30.0, multiplier=3.0, max_s=3600.0),
        "provider_safe": RetryPolicy(
            max_attempts=6,
            base_s=60.0,
            max_s=6 * 3600.0,
            jitter=0.5,
            overrides=MappingProxyType({Outcome.RATE_LIMITED: Override(max_attempts=20, base_s=120.0)}),
        ),
    }
)
"""Named policies for `retry.class` in farm.toml."""

_REASONS: Mapping[Outcome, Reason] = MappingProxyType(
    {
        Outcome.TRANSIENT: Reason.CONNECTOR_ERROR,
        Outcome.PERMANENT: Reason.CONNECTOR_ERROR,
        Outcome.RATE_LIMITED: Reason.RATE_LIMITED,
        Outcome.INVALID_INPUT: Reason.PARSE_ERROR,
        Outcome.DEPENDENCY: Reason.DEPENDENCY_FAILURE,
        Outcome.TIMED_OUT: Reason.TIMEOUT,
        Outcome.STALLED: Reason.TIMEOUT,
        Outcome.OUT_OF_MEMORY: Reason.RESOURCE_EXHAUSTED,
        Outcome.CRASHED: Reason.WORKER_CRASHED,
        Outcome.LOST: Reason.WORKER_CRASHED,
    }
)


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Another attempt at `at` (Unix seconds)."""

    at: float
    costs_attempt: bool
    """Whether `attempts` keeps this one. False for deaths, which are counted apart, and for a Retry-After."""
    memory_bytes: int | None = None
    """What the next attempt reserves, when that changes."""


@dataclass(frozen=True, slots=True)
class Quarantine:
    """No more attempts until a person has looked."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class GoBack:
    """Straight back to pending, unharmed."""


def counter(outcome: Outcome) -> str:
    """Which counter of the job goes up with this outcome: attempts, deaths, losses, or '' for none.

    >>> counter(Outcome.CRASHED), counter(Outcome.TIMED_OUT), counter(Outcome.INTERRUPTED)
    ('deaths', 'attempts', '')
    """
    if outcome in STRIKES:
        return "deaths"
    if outcome is Outcome.LOST:
        return "losses"
    return "" if outcome in (Outcome.INTERRUPTED, Outcome.CANCELLED) else "attempts"


def after(
    outcome: Outcome,
    *,
    attempts: int,
    deaths: int,
    losses: int,
    policy: RetryPolicy,
    now: float,
    chance: float,
    retry_after_s: float | None = None,
    reason: Reason | None = None,
    message: str = "",
    memory_bytes: int | None = None,
    resting_until: float | None = None,
) -> RetryAt | Quarantine | GoBack:
    """What follows an attempt that ended with `outcome`.

    The counters already include this attempt. `chance` is in [0, 1). `memory_bytes` is what the next attempt
    would reserve (`profile.raised`). `resting_until`: this attempt accused the other side, and the source's open
    breaker tries again then; it costs nothing, so that no outage uses up a job's attempts. An explicit `reason`
    wins over the outcome's own. Raises ValueError for an outcome that nothing follows: succeeded, cancelled.
    """
    if outcome in (Outcome.SUCCEEDED, Outcome.CANCELLED):
        raise ValueError(f"nothing follows an attempt that {outcome}")
    if outcome is Outcome.INTERRUPTED:
        return GoBack()
    why = reason or _REASONS[outcome]
    if outcome is Outcome.LOST:
        if losses < policy.max_losses:
            return GoBack()
        return Quarantine(why, f"the farm died {_times(losses)} while this job ran")

    rule = policy.of(outcome)
    said = message or outcome.replace("_", " ")
    if outcome in STRIKES:
        if deaths >= rule.max_deaths or rule.strategy is Strategy.NONE:
            return Quarantine(why, _given_up(said, deaths, "dead workers"))
        return RetryAt(now + delay_s(rule, deaths, chance), costs_attempt=False, memory_bytes=memory_bytes)
    if outcome is Outcome.RATE_LIMITED and retry_after_s is not None and rule.strategy is not Strategy.NONE:
        return RetryAt(now + _asked_s(retry_after_s, rule, chance), costs_attempt=False)
    if resting_until is not None and rule.strategy is not Strategy.NONE:
        return RetryAt(resting_until, costs_attempt=False)
    if attempts >= rule.max_attempts or rule.strategy is Strategy.NONE:
        return Quarantine(why, _given_up(said, attempts, "attempts"))
    return RetryAt(now + delay_s(rule, attempts, chance), costs_attempt=True)


def delay_s(policy: RetryPolicy, failures: int, chance: float) -> float:
    """Seconds to wait after the n-th failure, n from 1; within [0, max_s].

    >>> [delay_s(RetryPolicy(jitter=0), n, 0.0) for n in (1, 2, 3, 9)]
    [10.0, 20.0, 40.0, 600.0]
    """
    n = max(failures, 1)
    match policy.strategy:
        case Strategy.EXPONENTIAL:
            try:
                full = policy.base_s * policy.multiplier ** (n - 1)
            except OverflowError:
                full = policy.max_s
        case Strategy.LINEAR:
            full = policy.base_s * n
        case Strategy.FIXED:
            full = policy.base_s
        case Strategy.IMMEDIATE | Strategy.NONE:
            full = 0.0
    return min(full, policy.max_s) * (1 - policy.jitter * chance)


def _asked_s(retry_after_s: float, policy: RetryPolicy, chance: float) -> float:
    """As long as we were asked to wait, never less, and a little more so that not all come back at once."""
    asked = retry_after_s if math.isfinite(retry_after_s) else policy.max_s
    return min(max(asked, 0.0), RETRY_AFTER_MAX_S) + policy.base_s * policy.jitter * chance


def _given_up(message: str, failures: int, of_what: str) -> str:
    return message if failures <= 1 else f"{message} (gave up after {failures} {of_what})"


def _times(n: int) -> str:
    return "once" if n == 1 else "twice" if n == 2 else f"{n} times"
