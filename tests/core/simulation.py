"""A farm of pure numbers: sources with jobs of known length, cells, and `plan` in between.

Only the farm's decisions are real. Time jumps from event to event, so an hour takes a second.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import islice

from farm.core.admission import Budget
from farm.core.fairness import charged, cost_s
from farm.core.job import Priority, Stage
from farm.core.plan import Hold, Lane, Memory, Place, Running, Ticket, View, plan
from farm.core.profile import MIB, Profile, Reservation

HEADS = 16


def profile(cpu: float = 1.0, memory_mib: int = 100, batch: int = 1, limit: int = 99) -> Profile:
    return Profile(
        cpu=cpu,
        memory_bytes=memory_mib * MIB,
        memory_max_bytes=memory_mib * 4 * MIB,
        batch=batch,
        max_concurrent=limit,
        max_concurrent_connector=99,
    )


@dataclass
class Source:
    """A source, its waiting jobs, and how long each runs."""

    name: str
    profile: Profile = field(default_factory=profile)
    wall_s: Callable[[int], float] = lambda job_id: 1.0
    weight: float = 1.0
    expected_s: float = 1.0
    """What the plan believes; may be wrong."""
    virtual_s: float = 0.0
    served_s: float = 0.0
    """Farm seconds of launches that have ended."""
    waiting: dict[Priority, deque[Ticket]] = field(default_factory=lambda: {p: deque() for p in Priority})

    def lane(self) -> Lane:
        queues = [self.waiting[priority] for priority in reversed(Priority)]
        reservation = Reservation(self.profile.memory_bytes, self.profile.cpu, self.expected_s)
        return Lane(
            source=self.name,
            connector=self.name,
            profile=self.profile,
            reservation={Stage.EXTRACT: reservation},
            heads=tuple(ticket for queue in queues for ticket in islice(queue, HEADS)),
            ready=sum(map(len, queues)),
            virtual_s=self.virtual_s,
            weight=self.weight,
        )


@dataclass
class Arrival:
    """Jobs that come in at a moment."""

    at: float
    source: str
    jobs: int = 1
    priority: Priority = Priority.NORMAL
    memory_bytes: int = 0


class Simulation:
    """Runs until a given time and keeps when each job was submitted and started, and that the budget held."""

    def __init__(self, budget: Budget, sources: Iterable[Source], arrivals: Iterable[Arrival] = ()) -> None:
        self.budget = budget
        self.sources = {source.name: source for source in sources}
        self.arrivals = deque(sorted(arrivals, key=lambda arrival: arrival.at))
        self.running: dict[int, Running] = {}
        self.ends: list[tuple[float, int]] = []
        self.memory = Memory()
        self.now = 0.0
        self.job_id = 0
        self.submitted: dict[int, Arrival] = {}
        self.started: dict[int, float] = {}
        self.reasons: set[str] = set()
        self.busy_s = 0.0
        """Cell seconds."""

    def run(self, until: float) -> None:
        while self.now < until:
            self._arrive()
            self._plan()
            self._step(until)

    def used_s(self) -> dict[str, float]:
        """Farm seconds that each source has used by now."""
        used = {name: source.served_s for name, source in self.sources.items()}
        for run in self.running.values():
            used[run.source] += self._cost(run)
        return used

    def waits(self, source: str = "", priority: Priority | None = None) -> list[float]:
        """How long each job waited, or has waited so far."""
        return [
            self.started.get(job_id, self.now) - arrival.at
            for job_id, arrival in self.submitted.items()
            if source in ("", arrival.source) and priority in (None, arrival.priority)
        ]

    def _arrive(self) -> None:
        while self.arrivals and self.arrivals[0].at <= self.now:
            arrival = self.arrivals.popleft()
            for _ in range(arrival.jobs):
                self.job_id += 1
                ticket = Ticket(
                    self.job_id,
                    Stage.EXTRACT,
                    arrival.priority,
                    arrival.at,
                    memory_bytes=arrival.memory_bytes,
                )
                self.sources[arrival.source].waiting[arrival.priority].append(ticket)
                self.submitted[self.job_id] = arrival

    def _plan(self) -> None:
        lanes = [source.lane() for source in self.sources.values()]
        view = View(lanes, self.budget, list(self.running.values()), memory=self.memory)
        made = plan(view, self.now)
        self.memory = made.memory
        for step in made:
            if isinstance(step, Hold):
                self.reasons.add(step.reason)
            else:
                self._start(step)
        self._check_budget()

    def _start(self, place: Place) -> None:
        source = self.sources[place.source]
        source.virtual_s = place.virtual_s
        queue = source.waiting[place.priority]
        wall_s = 0.0
        for job_id in place.job_ids:
            queue.remove(next(ticket for ticket in queue if ticket.job_id == job_id))
            self.started[job_id] = self.now + wall_s
            wall_s += source.wall_s(job_id)
        self.busy_s += wall_s
        run = Running(source.name, source.name, place.cpu, place.memory_bytes, self.now, place.cost_s)
        self.running[place.job_ids[0]] = run
        heappush(self.ends, (self.now + wall_s, place.job_ids[0]))

    def _step(self, until: float) -> None:
        """On to the next event; once a second the farm looks anyway."""
        upcoming = [self.now + 1.0, until]
        if self.ends:
            upcoming.append(self.ends[0][0])
        if self.arrivals:
            upcoming.append(self.arrivals[0].at)
        self.now = max(self.now, min(upcoming))
        while self.ends and self.ends[0][0] <= self.now:
            run = self.running.pop(heappop(self.ends)[1])
            source = self.sources[run.source]
            source.virtual_s = charged(source.virtual_s, self._cost(run), source.weight)
            source.served_s += self._cost(run)

    def _cost(self, run: Running) -> float:
        return cost_s(self.now - run.started_at, run.cpu, run.memory_bytes, self.budget)

    def _check_budget(self) -> None:
        running = self.running.values()
        assert len(running) <= self.budget.cells
        assert sum(run.memory_bytes for run in running) <= self.budget.memory_bytes
        assert sum(run.cpu for run in running) <= self.budget.cpu + 1e-6
