"""What starts now, and why the rest does not: a pure function of facts.

The rules:

1. A free cell goes to the highest class of priority that has a ready job; within the class to the source with
   the smallest virtual time (`fairness`). A class passed over for AGEING_S rises by one, for one turn: that of
   its first job, and the class is served when that job is.
2. What does not fit (`admission`) lets others pass, for PATIENCE_S. After that, room is kept for it: whoever
   comes after it in rule 1 starts only if both fit beside everything that has started since. So once what ran
   before has ended, the one that waited fits.
3. A launch is one stage of one lane: as many of the first jobs of a class as make a launch worth while
   (`profile.batch_size`). A job whose reservation was raised runs alone.

Hence the bound: the first low job in the order of rule 1 is placed at the first cell that frees after
2 × AGEING_S = 60 s, however many high ones arrive; if it does not fit then, once the launches that run
PATIENCE_S later have ended. Low jobs that come before it take one such turn each. So nothing starves.

Only as many tickets are looked at as can be placed, and LOOKAHEAD more of a lane whose first one is held.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from operator import attrgetter

from farm.core.admission import SCARCE, Demand, Held, HoldReason, admit, fits, limited, sentence, size
from farm.core.fairness import aged, charged, cost_s, joined
from farm.core.flow import Flow, Queue
from farm.core.job import Priority
from farm.core.profile import Reservation, batch_size
from farm.core.view import Hold, Lane, Memory, Place, Plan, Running, Ticket, View

__all__ = ["PATIENCE_S", "Hold", "Lane", "Memory", "Place", "Plan", "Running", "Ticket", "View", "plan"]

PATIENCE_S = 10.0
"""A job held for cores or memory for so long has room kept for it."""

_CLASSES = tuple(Priority)
_order = attrgetter("order")


def plan(view: View, now: float) -> Plan:
    """What to start at `now` (Unix seconds), and why not more."""
    if not view.accepting:
        return _stopping(view)
    turns = _Turns(view, now)
    turns.open()
    while (queue := turns.next()) is not None:
        turns.serve(queue)
    return turns.close()


@dataclass(slots=True)
class _Waiting:
    """The job that room is kept for, and what has started since it lost patience."""

    job_id: int
    since: float
    demand: Demand
    started: Held


class _Turns:
    """One round of giving out the free cells."""

    def __init__(self, view: View, now: float) -> None:
        self.view = view
        self.now = now
        self.budget = view.budget
        self.memory = view.memory
        self.held = Held.of((r.source, r.connector, r.cpu, r.memory_bytes) for r in view.running)
        self.placed: list[Demand] = []
        self.steps: list[Place | Hold] = []
        self.flows: list[Flow] = []
        self.queues: list[Queue] = []
        self.ranks = [float(priority) for priority in _CLASSES]
        self.waiting: _Waiting | None = None
        self.passed: set[Priority] = set()
        self.since: dict[int, float] = {}
        self.served_at = list(view.memory.served_at)

    # -- the story of a round

    def open(self) -> None:
        """Let the lanes compete that may, and say of the others why they may not."""
        elapsed, expected = self._costs()
        for lane in self.view.lanes:
            if lane.heads:
                name = lane.source
                flow = Flow(lane, self.budget, elapsed.get(name, 0.0), expected.get(name, 0.0))
                if not self._is_shut(flow):
                    self.flows.append(flow)
                    self.queues += flow.compete(self.memory.level_s)
        self._age()
        for queue in self.queues:
            queue.rank(self.ranks[queue.priority])

    def next(self) -> Queue | None:
        """Whose turn it is; None when no cell is free or nobody is left."""
        if not self.queues or self.held.cells >= self.budget.cells:
            return None
        return min(self.queues, key=_order)

    def serve(self, queue: Queue) -> None:
        """Place the first jobs of the queue; or hold the first one and let the next try."""
        demand = queue.flow.demand(queue.head)
        reason = admit(demand, self.held, self.budget)
        if reason is None and self._overtakes(demand):
            reason = HoldReason.YIELDING
        if reason is None:
            self._place(queue, demand)
        else:
            self._refuse(queue, demand, reason)

    def close(self) -> Plan:
        """Say of every lane that is left why it waits, and remember."""
        first: dict[str, Queue] = {}
        for queue in sorted(self.queues, key=_order):
            first.setdefault(queue.flow.lane.source, queue)
        for queue in first.values():
            demand = queue.flow.demand(queue.head)
            self._hold(queue, demand, admit(demand, self.held, self.budget) or HoldReason.NO_CELL)
        return Plan(tuple(self.steps), Memory(self.since, tuple(self.served_at), self._levels()))

    # -- the facts

    def _costs(self) -> tuple[dict[str, float], dict[str, float]]:
        """Of each source the farm seconds its launches have used so far, and are expected to use in all."""
        elapsed: dict[str, float] = {}
        expected: dict[str, float] = {}
        for run in self.view.running:
            so_far = cost_s(self.now - run.started_at, run.cpu, run.memory_bytes, self.budget)
            elapsed[run.source] = elapsed.get(run.source, 0.0) + so_far
            expected[run.source] = expected.get(run.source, 0.0) + max(so_far, run.cost_s)
        return elapsed, expected

    def _is_shut(self, flow: Flow) -> bool:
        lane = flow.lane
        job_id = lane.heads[0].job_id
        if lane.paused:
            self.steps.append(Hold(lane.source, job_id, HoldReason.PAUSED, f"waits: {lane.source} is paused"))
        elif lane.blocked:
            self.steps.append(Hold(lane.source, job_id, HoldReason.BLOCKED, f"waits: {lane.blocked}"))
        else:
            limit = limited(flow.first, self.held)
            if limit is None:
                return False
            self._say(job_id, flow.first, limit)
        return True

    def _age(self) -> None:
        """A class that was passed over for long goes before those it has risen to, until it was served."""
        oldest: dict[Priority, float] = {}
        for queue in self.queues:
            since = queue.head.waiting_since
            oldest[queue.priority] = min(oldest.get(queue.priority, since), since)
        for priority, since in oldest.items():
            risen = aged(priority, self.now - max(since, self.served_at[priority]))
            self.ranks[priority] = risen + 0.5 if risen > priority else float(priority)

    def _levels(self) -> tuple[float, ...]:
        """The virtual time of the least served lane that still waits, in each class or a higher one.

        Who has got all it asked for, or all that its own limit allows, does not wait and cannot lag behind.
        """
        known = self.memory.level_s
        least = [inf] * len(known)
        for flow in self.flows:
            if flow.placed < flow.lane.ready and limited(flow.first, self.held) is None:
                used_s = flow.used_s + flow.lift_s
                for priority in range(flow.best + 1):
                    least[priority] = min(least[priority], used_s)
        return tuple(joined(known[i], least[i]) if least[i] < inf else known[i] for i in range(len(known)))

    # -- placing

    def _overtakes(self, demand: Demand) -> bool:
        """Whether starting this would take from the room that is kept for the one that waits."""
        if self.waiting is None:
            return False
        return not fits(self.waiting.demand, self.waiting.started.plus(demand), self.budget)

    def _place(self, queue: Queue, demand: Demand) -> None:
        flow, lane, head = queue.flow, queue.flow.lane, queue.head
        reservation = flow.reservation(head.stage)
        jobs = queue.front(self._most(flow, demand, reservation))
        cost = cost_s(len(jobs) * reservation.wall_s, demand.cpu, demand.memory_bytes, self.budget)
        self.steps.append(
            Place(
                source=lane.source,
                stage=head.stage,
                priority=head.priority,
                job_ids=jobs,
                cpu=demand.cpu,
                memory_bytes=demand.memory_bytes,
                cap_bytes=min(max(lane.profile.memory_bytes, demand.memory_bytes), self.budget.memory_bytes),
                cost_s=cost,
                virtual_s=lane.virtual_s + flow.lift_s,
            )
        )
        self.held = self.held.plus(demand)
        self.placed.append(demand)
        if self.waiting is not None:
            self.waiting.started = self.waiting.started.plus(demand)
        flow.placed += len(jobs)
        flow.expected_s = charged(flow.expected_s, cost, lane.weight)
        if not queue.take(len(jobs)):
            self.queues.remove(queue)
        self._served(queue.priority)
        for other in flow.queues:
            other.rank(self.ranks[other.priority])

    def _most(self, flow: Flow, demand: Demand, reservation: Reservation) -> int:
        """How many jobs are worth one launch, while other free cells could take some of them."""
        if flow.lane.trial:
            return 1
        free = self.budget.cells - self.held.cells
        allowed = demand.source_limit - self.held.sources.get(demand.source, 0)
        return batch_size(flow.lane.profile, reservation, flow.lane.ready - flow.placed, min(free, allowed))

    def _served(self, priority: Priority) -> None:
        """The class has had its turn, unless the job that was placed passed one of its class."""
        if priority not in self.passed:
            self.served_at[priority] = self.now
        self._end_turn(priority)

    def _end_turn(self, priority: Priority) -> None:
        """A class that had risen is itself again for the rest of the round."""
        if self.ranks[priority] != priority:
            self.ranks[priority] = float(priority)
            for queue in self.queues:
                queue.rank(self.ranks[queue.priority])

    # -- holding

    def _refuse(self, queue: Queue, demand: Demand, reason: HoldReason) -> None:
        self._hold(queue, demand, reason)
        if reason in (HoldReason.SOURCE_LIMIT, HoldReason.CONNECTOR_LIMIT):
            self.queues = [other for other in self.queues if other.flow is not queue.flow]
        elif queue.skip():
            queue.rank(self.ranks[queue.priority])
        else:
            self.queues.remove(queue)

    def _hold(self, queue: Queue, demand: Demand, reason: HoldReason) -> None:
        """Say why it waits; keep room for it once it has waited for something scarce too long."""
        job_id = queue.head.job_id
        if reason in SCARCE:
            since = self.memory.held.get(job_id, self.now)
            if self.waiting is None and self.now - since >= PATIENCE_S:
                started = self._started(since + PATIENCE_S)
                self.waiting = _Waiting(job_id, since, demand, started)
            self.since[job_id] = since
            # The turn of a class that has risen is for its first job; while that waits, the next round's is too.
            self.passed.add(queue.priority)
            self._end_turn(queue.priority)
        self._say(job_id, demand, reason)

    def _started(self, after: float) -> Held:
        """What has started after this moment, this round's placings among it."""
        late = (r for r in self.view.running if r.started_at >= after)
        held = Held.of((r.source, r.connector, r.cpu, r.memory_bytes) for r in late)
        for demand in self.placed:
            held = held.plus(demand)
        return held

    def _say(self, job_id: int, demand: Demand, reason: HoldReason) -> None:
        # Whoever waited for memory and now also for a cell has not begun to wait anew.
        if job_id in self.memory.held:
            self.since.setdefault(job_id, self.memory.held[job_id])
        if reason is HoldReason.YIELDING and self.waiting is not None:
            why = _yields(self.waiting, self.now)
        else:
            why = sentence(reason, demand, self.held, self.budget)
        self.steps.append(Hold(demand.source, job_id, reason, why))


def _stopping(view: View) -> Plan:
    why = "waits: the farm is stopping"
    holds = (
        Hold(lane.source, lane.heads[0].job_id, HoldReason.STOPPING, why) for lane in view.lanes if lane.heads
    )
    return Plan(tuple(holds), view.memory)


def _yields(waiting: _Waiting, now: float) -> str:
    job = f"job {waiting.job_id} of {waiting.demand.source}"
    need = f"{size(waiting.demand.memory_bytes)} and {waiting.demand.cpu:.3g} cores"
    return f"leaves room for {job}, which has waited {now - waiting.since:.0f} s for {need}"
