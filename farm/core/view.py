"""What the plan looks at, and what it answers: lanes with their first tickets in, places and holds out.

All times are Unix seconds, on one clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from farm.core.admission import Budget, HoldReason
from farm.core.job import Priority, Stage
from farm.core.profile import Profile, Reservation


class Ticket(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A job that is ready to run."""

    job_id: int
    stage: Stage
    priority: Priority
    waiting_since: float
    memory_bytes: int = 0
    """Reserved for this job alone, after it ran out of memory; 0: the lane's reservation."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One source and the front of its queue."""

    source: str
    connector: str
    profile: Profile
    reservation: Mapping[Stage, Reservation]
    """What follows from measurements; a stage that is missing gets the declared figures."""
    heads: tuple[Ticket, ...]
    """Of every class of priority the first ready tickets: the highest class first, in it the oldest first.

    A lower class must not be cut off by a long higher one: it could never age then.
    """
    ready: int
    """All ready tickets of the lane, the heads among them."""
    virtual_s: float = 0.0
    """Farm seconds used by launches that have ended, divided by the weight."""
    weight: float = 1.0
    paused: bool = False
    blocked: str = ""
    """Why nothing of it may start now (an open fuse, a degraded source), as a sentence; empty when it may."""
    trial: bool = False
    """Half-open fuse: one job at a time, to see whether the source is back."""


@dataclass(frozen=True, slots=True)
class Running:
    """One launch that runs."""

    source: str
    connector: str
    cpu: float
    memory_bytes: int
    started_at: float
    cost_s: float = 0.0
    """What it was expected to cost: `Place.cost_s`."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What one plan leaves to the next. The caller only carries it.

    After a restart begin with `Memory.since(...)`: what sources used before counts among them no more.
    """

    held: Mapping[int, float] = field(default_factory=dict)
    """Since when a job has been held for cores or memory."""
    served_at: tuple[float, ...] = (0.0,) * len(Priority)
    """When each class of priority was last served."""
    level_s: tuple[float, ...] = (0.0,) * len(Priority)
    """The virtual time of the least served source that had to wait, by class of priority."""

    @classmethod
    def since(cls, virtual_s: Sequence[float]) -> Memory:
        """The memory of a farm that begins with these virtual times: all sources start level."""
        return cls(level_s=(max(virtual_s, default=0.0),) * len(Priority))


@dataclass(frozen=True, slots=True)
class View:
    """All the facts that a plan follows from."""

    lanes: Sequence[Lane]
    budget: Budget
    running: Sequence[Running] = ()
    accepting: bool = True
    """False while the farm stops: nothing new starts."""
    memory: Memory = field(default_factory=Memory)


@dataclass(frozen=True, slots=True)
class Place:
    """Start these jobs in one cell."""

    source: str
    stage: Stage
    priority: Priority
    job_ids: tuple[int, ...]
    cpu: float
    """Cores reserved."""
    memory_bytes: int
    """Reserved."""
    cap_bytes: int
    """Hard cap: never less than what the profile declares, so that a low measurement kills nobody."""
    cost_s: float
    """Expected cost in farm seconds: `Running.cost_s` of this launch."""
    virtual_s: float
    """The lane's virtual time from now on. When the launch ends, `fairness.charged` adds its cost."""


@dataclass(frozen=True, slots=True)
class Hold:
    """This job waits. It is the first of its lane, or one that others of its lane pass."""

    source: str
    job_id: int
    reason: HoldReason
    sentence: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps to take, in order, and the memory for the next plan's view."""

    steps: tuple[Place | Hold, ...]
    memory: Memory

    def __iter__(self) -> Iterator[Place | Hold]:
        return iter(self.steps)
