"""What starts now, and why the rest does not: a pure function of facts.

The rules:

1. A free cell goes to the highest class of priority that has a ready job; within the class to the source with
   the smallest virtual time (`fairness`). A class passed over for AGEING_S rises by one, until it was served.
2. What does not fit (`admission`) lets others pass, for PATIENCE_S. After that, room is kept for it: whoever
   comes after it in rule 1 starts only if both fit beside everything that has started since. So once what ran
   before has ended, the one that waited fits.
3. A launch is one stage of one lane: as many of the first jobs of a class as make a launch worth while
   (`profile.batch_size`). A job whose reservation was raised runs alone.

Hence the bound: the first low job in the order of rule 1 is placed at the first cell that frees after
2 × AGEING_S = 60 s, however many high ones arrive; if it does not fit then, once the launches that run
PATIENCE_S later have ended. Low jobs of other sources that come before it take one such turn each. So nothing
starves.

Only as many tickets are looked at as can be placed, and LOOKAHEAD more of a lane whose first one is held.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from operator import attrgetter

from farm.core.admission import SCARCE, Budget, Demand, Held, HoldReason, admit, fits, limited, sentence, size
from farm.core.fairness import AGEING_S, aged, charged, cost_s, joined
from farm.core.job import Priority, Stage
from farm.core.profile import batch_size, reserve
from farm.core.view import Hold, Lane, Memory, Place, Plan, Running, Ticket, View

__all__ = ["Hold", "Lane", "Memory", "Place", "Plan", "Running", "Ticket", "View", "plan"]

PATIENCE_S = 10.0
"""A job held for cores or memory for so long has room kept for it."""
LOOKAHEAD = 32

_STOPPING = "waits: the farm is stopping"
_order = attrgetter("order")


def plan(view: View, now: float) -> Plan:
    """What to start at `now` (Unix seconds), and why not more."""
    turns = _Turns(view, now)
    if view.accepting:
        turns.open()
        while (queue := turns.next()) is not None:
            turns.serve(queue)
    return turns.close()


class _Flow:
    """A lane that competes for cells: what it has used, what it is expected to use, what of it is placed."""

    __slots__ = ("best", "demands", "expected_s", "lane", "lift_s", "placed", "queues", "used_s")

    def __init__(self, lane: Lane, elapsed_s: float, expected_s: float) -> None:
        self.lane = lane
        self.best = lane.heads[0].priority
        self.used_s = charged(lane.virtual_s, elapsed_s, lane.weight)
        self.expected_s = charged(lane.virtual_s, expected_s, lane.weight)
        self.lift_s = 0.0
        self.placed = 0
        self.demands: dict[tuple[Stage, int], Demand] = {}
        self.queues = [_Queue(self, heads) for heads in _classes(lane.heads)]

    def demand(self, head: Ticket, budget: Budget) -> Demand:
        need = _need(head)
        found = self.demands.get(need)
        if found is None:
            reservation = self.lane.reservation.get(head.stage) or reserve(self.lane.profile, ())
            found = self.demands[need] = Demand(
                self.lane.source,
                self.lane.connector,
                min(reservation.cpu, budget.cpu),
                max(reservation.memory_bytes, head.memory_bytes),
                1 if self.lane.trial else self.lane.profile.max_concurrent,
                self.lane.profile.max_concurrent_connector,
            )
        return found


class _Queue:
    """The heads of one class of a flow; `at` is the first that is neither placed nor passed."""

    __slots__ = ("at", "flow", "heads", "order", "priority", "refused")

    def __init__(self, flow: _Flow, heads: tuple[Ticket, ...]) -> None:
        self.flow = flow
        self.heads = heads
        self.priority = heads[0].priority
        self.at = 0
        self.refused: set[tuple[Stage, int]] = set()
        self.order: tuple[float, float, float, str] = (0.0, 0.0, 0.0, "")

    def rank(self, rank: float) -> None:
        """Take this place in the order of rule 1."""
        tag = self.flow.expected_s + self.flow.lift_s
        self.order = (-rank, tag, self.heads[self.at].waiting_since, self.flow.lane.source)

    def take(self, jobs: int) -> bool:
        """On past these jobs; False when nothing near is left to try."""
        return self._find(self.at + jobs)

    def skip(self) -> bool:
        """On to the next head that needs something else than those refused; False when there is none near."""
        self.refused.add(_need(self.heads[self.at]))
        return self._find(self.at + 1)

    def _find(self, start: int) -> bool:
        for at in range(start, min(start + LOOKAHEAD, len(self.heads))):
            if not self.refused or _need(self.heads[at]) not in self.refused:
                self.at = at
                return True
        return False


@dataclass(slots=True)
class _Waiting:
    """The job that room is kept for, and what has started since it lost patience."""

    job_id: int
    since: float
    demand: Demand
    priority: Priority
    started: Held


class _Turns:
    """One round of giving out the free cells."""

    def __init__(self, view: View, now: float) -> None:
        self.view = view
        self.now = now
        self.held = Held.of((r.source, r.connector, r.cpu, r.memory_bytes) for r in view.running)
        self.steps: list[Place | Hold] = []
        self.queues: list[_Queue] = []
        self.flows: list[_Flow] = []
        self.placed: list[Demand] = []
        self.waiting: _Waiting | None = None
        self.since: dict[int, float] = {}
        self.served_at = list(view.memory.served_at)
        self.ranks = [float(priority) for priority in Priority]

    def open(self) -> None:
        """Let the lanes compete that may, and say of the others why they may not."""
        elapsed, expected = self._running_costs()
        for lane in self.view.lanes:
            if not lane.heads:
                continue
            flow = _Flow(lane, elapsed.get(lane.source, 0.0), expected.get(lane.source, 0.0))
            if not self._is_shut(flow):
                self.flows.append(flow)
                self.queues.extend(flow.queues)
        for flow in self.flows:
            flow.lift_s = joined(flow.used_s, self.view.memory.level_s[flow.best]) - flow.used_s
        for priority in Priority:
            waiting = [queue.heads[0].waiting_since for queue in self.queues if queue.priority is priority]
            if waiting:
                self._age(priority, self.now - max(min(waiting), self.served_at[priority]))
        for queue in self.queues:
            queue.rank(self.ranks[queue.priority])

    def next(self) -> _Queue | None:
        """Whose turn it is; None when no cell is free or nobody is left."""
        if not self.queues or self.held.cells >= self.view.budget.cells:
            return None
        return min(self.queues, key=_order)

    def serve(self, queue: _Queue) -> None:
        """Place the first jobs of the queue, or hold the first and let the next one try."""
        head = queue.heads[queue.at]
        demand = queue.flow.demand(head, self.view.budget)
        reason = admit(demand, self.held, self.view.budget)
        if reason is None and self._overtakes(demand):
            reason = HoldReason.YIELDING
        if reason is None:
            self._place(queue, head, demand)
        else:
            self._refuse(queue, head, demand, reason)

    def close(self) -> Plan:
        """Hold what is left, and remember."""
        if not self.view.accepting:
            self.steps = [
                Hold(lane.source, lane.heads[0].job_id, HoldReason.STOPPING, _STOPPING)
                for lane in self.view.lanes
                if lane.heads
            ]
            return Plan(tuple(self.steps), self.view.memory)
        for queue in self.queues:
            head = queue.heads[queue.at]
            demand = queue.flow.demand(head, self.view.budget)
            reason = admit(demand, self.held, self.view.budget) or HoldReason.NO_CELL
            self._hold(head, demand, reason)
        return Plan(tuple(self.steps), Memory(self.since, tuple(self.served_at), self._levels()))

    def _running_costs(self) -> tuple[dict[str, float], dict[str, float]]:
        """Of each source the farm seconds its launches have used so far, and are expected to use in all."""
        elapsed: dict[str, float] = {}
        expected: dict[str, float] = {}
        for launch in self.view.running:
            so_far = cost_s(self.now - launch.started_at, launch.cpu, launch.memory_bytes, self.view.budget)
            elapsed[launch.source] = elapsed.get(launch.source, 0.0) + so_far
            expected[launch.source] = expected.get(launch.source, 0.0) + max(so_far, launch.cost_s)
        return elapsed, expected

    def _is_shut(self, flow: _Flow) -> bool:
        lane = flow.lane
        head = lane.heads[0]
        if lane.paused:
            self.steps.append(
                Hold(lane.source, head.job_id, HoldReason.PAUSED, f"waits: {lane.source} is paused")
            )
            return True
        if lane.blocked:
            self.steps.append(Hold(lane.source, head.job_id, HoldReason.BLOCKED, f"waits: {lane.blocked}"))
            return True
        demand = flow.demand(head, self.view.budget)
        limit = limited(demand, self.held)
        if limit is not None:
            self._hold(head, demand, limit)
        return limit is not None

    def _age(self, priority: Priority, waited_s: float) -> None:
        """A class that has risen goes before the one it has risen to: one turn, then it is itself again."""
        risen = aged(priority, waited_s, AGEING_S)
        self.ranks[priority] = risen + 0.5 if risen > priority else float(priority)

    def _overtakes(self, demand: Demand) -> bool:
        """Whether starting this would take from the room that is kept for the one that waits."""
        if self.waiting is None:
            return False
        return not fits(self.waiting.demand, self.waiting.started.plus(demand), self.view.budget)

    def _place(self, queue: _Queue, head: Ticket, demand: Demand) -> None:
        flow, lane = queue.flow, queue.flow.lane
        reservation = lane.reservation.get(head.stage) or reserve(lane.profile, ())
        most = 1
        if not lane.trial and not head.memory_bytes:
            free = self.view.budget.cells - self.held.cells
            mine = demand.source_limit - self.held.sources.get(lane.source, 0)
            most = batch_size(lane.profile, reservation, lane.ready - flow.placed, min(free, mine))
        jobs = _like(queue.heads, queue.at, most)
        cost = cost_s(len(jobs) * reservation.wall_s, demand.cpu, demand.memory_bytes, self.view.budget)
        self.steps.append(
            Place(
                source=lane.source,
                stage=head.stage,
                priority=head.priority,
                job_ids=jobs,
                cpu=demand.cpu,
                memory_bytes=demand.memory_bytes,
                cap_bytes=min(
                    max(lane.profile.memory_bytes, demand.memory_bytes), self.view.budget.memory_bytes
                ),
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

    def _served(self, priority: Priority) -> None:
        """The class has had its turn, unless the job that was placed passed one of its class that waits."""
        if self.waiting is not None and self.waiting.priority is priority:
            return
        self.served_at[priority] = self.now
        if self.ranks[priority] != priority:
            self.ranks[priority] = float(priority)
            for queue in self.queues:
                if queue.priority is priority:
                    queue.rank(self.ranks[priority])

    def _refuse(self, queue: _Queue, head: Ticket, demand: Demand, reason: HoldReason) -> None:
        self._hold(head, demand, reason)
        if reason in (HoldReason.SOURCE_LIMIT, HoldReason.CONNECTOR_LIMIT):
            self.queues = [other for other in self.queues if other.flow is not queue.flow]
        elif queue.skip():
            queue.rank(self.ranks[queue.priority])
        else:
            self.queues.remove(queue)

    def _hold(self, head: Ticket, demand: Demand, reason: HoldReason) -> None:
        """Say why; remember since when, once it was for something scarce."""
        since = self.view.memory.held.get(head.job_id)
        if reason in SCARCE:
            since = self.now if since is None else since
            if self.waiting is None and self.now - since >= PATIENCE_S:
                self.waiting = self._wait(head, demand, since)
        if since is not None:
            self.since[head.job_id] = since
        if reason is HoldReason.YIELDING and self.waiting is not None:
            why = _yields(self.waiting, self.now)
        else:
            why = sentence(reason, demand, self.held, self.view.budget)
        self.steps.append(Hold(demand.source, head.job_id, reason, why))

    def _wait(self, head: Ticket, demand: Demand, since: float) -> _Waiting:
        late = [r for r in self.view.running if r.started_at >= since + PATIENCE_S]
        started = Held.of((r.source, r.connector, r.cpu, r.memory_bytes) for r in late)
        for placed in self.placed:
            started = started.plus(placed)
        return _Waiting(head.job_id, since, demand, head.priority, started)

    def _levels(self) -> tuple[float, ...]:
        """The virtual time of the least served flow that competed in each class or a higher one."""
        levels = list(self.view.memory.level_s)
        for priority in Priority:
            used = [flow.used_s + flow.lift_s for flow in self.flows if flow.best >= priority]
            levels[priority] = max(levels[priority], min(used, default=0.0))
        return tuple(levels)


def _need(head: Ticket) -> tuple[Stage, int]:
    """Heads of one lane with the same need fit or do not fit alike."""
    return head.stage, head.memory_bytes


def _like(heads: tuple[Ticket, ...], at: int, most: int) -> tuple[int, ...]:
    """The jobs from `at` on that may share a launch: of one stage, none with a reservation of its own."""
    stage = heads[at].stage
    jobs = [heads[at].job_id]
    for head in heads[at + 1 : at + most]:
        if head.stage is not stage or head.memory_bytes:
            break
        jobs.append(head.job_id)
    return tuple(jobs)


def _classes(heads: tuple[Ticket, ...]) -> list[tuple[Ticket, ...]]:
    """The heads by class of priority, the highest first."""
    classes = []
    start = 0
    while start < len(heads):
        priority = heads[start].priority
        end = len(heads) if heads[-1].priority is priority else _end(heads, start)
        classes.append(heads[start:end])
        start = end
    return classes


def _end(heads: tuple[Ticket, ...], start: int) -> int:
    return bisect_right(heads, -heads[start].priority, lo=start, key=lambda head: -head.priority)


def _yields(waiting: _Waiting, now: float) -> str:
    job = f"job {waiting.job_id} of {waiting.demand.source}"
    need = f"{size(waiting.demand.memory_bytes)} and {waiting.demand.cpu:.3g} cores"
    return f"leaves room for {job}, which has waited {now - waiting.since:.0f} s for {need}"
