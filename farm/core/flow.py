"""A lane that competes for cells in one plan, and its queues: one for each class of priority.

Scratch paper of `plan`: made from the view, used up while cells are given out, thrown away.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import takewhile

from farm.core.admission import Budget, Demand
from farm.core.fairness import charged, joined
from farm.core.job import Priority, Stage
from farm.core.profile import Reservation, reserve
from farm.core.view import Lane, Ticket

LOOKAHEAD = 32
"""How far a queue is searched for a job that needs something else than those that did not fit."""


class Flow:
    """One lane: what it has used, what it is expected to use, and how much of it is placed."""

    __slots__ = (
        "_budget",
        "_demands",
        "best",
        "expected_s",
        "first",
        "lane",
        "lift_s",
        "placed",
        "queues",
        "used_s",
    )

    def __init__(self, lane: Lane, budget: Budget, elapsed_s: float, expected_s: float) -> None:
        self.lane = lane
        self.best = lane.heads[0].priority
        self.used_s = charged(lane.virtual_s, elapsed_s, lane.weight)
        self.expected_s = charged(lane.virtual_s, expected_s, lane.weight)
        self.lift_s = 0.0
        self.placed = 0
        self.queues: list[Queue] = []
        self._budget = budget
        self._demands: dict[tuple[Stage, int], Demand] = {}
        self.first = self.demand(lane.heads[0])

    def compete(self, level_s: tuple[float, ...]) -> list[Queue]:
        """Join, level with those that competed before; the queues are not yet ranked."""
        self.lift_s = joined(self.used_s, level_s[self.best]) - self.used_s
        heads, start = self.lane.heads, 0
        while start < len(heads):
            end = _end_of_class(heads, start)
            self.queues.append(Queue(self, heads[start].priority, start, end))
            start = end
        return self.queues

    def reservation(self, stage: Stage) -> Reservation:
        return self.lane.reservation.get(stage) or reserve(self.lane.profile, ())

    def demand(self, head: Ticket) -> Demand:
        """What a launch that begins with this head would take."""
        need = _need(head)
        demand = self._demands.get(need)
        if demand is None:
            profile, reservation = self.lane.profile, self.reservation(head.stage)
            demand = self._demands[need] = Demand(
                self.lane.source,
                self.lane.connector,
                min(reservation.cpu, self._budget.cpu),
                max(reservation.memory_bytes, head.memory_bytes),
                1 if self.lane.trial else profile.max_concurrent,
                profile.max_concurrent_connector,
            )
        return demand


class Queue:
    """The heads of one class of a flow, from `at` on: those before it are placed or passed."""

    __slots__ = ("at", "end", "flow", "heads", "order", "priority", "refused")

    def __init__(self, flow: Flow, priority: Priority, at: int, end: int) -> None:
        self.flow = flow
        self.priority = priority
        self.heads = flow.lane.heads
        self.at = at
        self.end = end
        self.refused: set[tuple[Stage, int]] = set()
        self.order: tuple[float, float, float, str] = (0.0, 0.0, 0.0, "")

    @property
    def head(self) -> Ticket:
        return self.heads[self.at]

    def rank(self, rank: float) -> None:
        """Take its place in the order: by class, then virtual time, then age; the name decides what is left."""
        flow = self.flow
        self.order = (-rank, flow.expected_s + flow.lift_s, self.head.waiting_since, flow.lane.source)

    def front(self, most: int) -> tuple[int, ...]:
        """The jobs from the head on that may share its launch, at most so many.

        They are of one stage, and none has a reservation of its own.
        """
        head, rest = self.head, self.heads[self.at + 1 : min(self.at + most, self.end)]
        if head.memory_bytes:
            return (head.job_id,)
        stage = head.stage
        fellows = [ticket.job_id for ticket in rest if ticket.stage is stage and not ticket.memory_bytes]
        if len(fellows) < len(rest):
            fellows = [ticket.job_id for ticket in takewhile(lambda t: _need(t) == (stage, 0), rest)]
        return (head.job_id, *fellows)

    def take(self, jobs: int) -> bool:
        """On past these jobs; False when there is nothing near that is worth trying."""
        return self._find(self.at + jobs)

    def skip(self) -> bool:
        """On past a head that did not fit, to the next that needs something else; False when none is near."""
        self.refused.add(_need(self.head))
        return self._find(self.at + 1)

    def _find(self, start: int) -> bool:
        for at in range(start, min(start + LOOKAHEAD, self.end)):
            if not self.refused or _need(self.heads[at]) not in self.refused:
                self.at = at
                return True
        return False


def _need(head: Ticket) -> tuple[Stage, int]:
    """Heads of one lane with the same need fit or do not fit alike."""
    return head.stage, head.memory_bytes


def _end_of_class(heads: tuple[Ticket, ...], start: int) -> int:
    priority = heads[start].priority
    if heads[-1].priority is priority:
        return len(heads)
    return bisect_right(heads, -priority, lo=start, key=lambda head: -head.priority)
