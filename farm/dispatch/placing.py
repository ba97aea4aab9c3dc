"""Placing: what runs next, within the budget. The facts come from here, the decision from `farm.core.plan`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from farm.core import breaker, fairness
from farm.core.admission import Budget
from farm.core.job import Finished, JobSpec, Launch, Limits, RunType, Stage
from farm.core.plan import Hold, Lane, Memory, Place, Running, View, plan
from farm.dispatch.flights import Flights, InFlight
from farm.ledger.ledger import Ledger
from farm.sources import Source
from farm.workers.pool import NoCell, Pool

BUDGET_S = 2.0
"""How often the machine's memory is looked at while there is work."""
NO_CELL_S = (0.02, 5.0)
"""When no cell could be had, nothing is leased for so long: the first time, and at most."""


class Placing:
    """`lease` is called in the ledger's transaction, then `start`, or `undone` when it did not happen."""

    def __init__(
        self,
        ledger: Ledger,
        sources: Mapping[str, Source],
        flights: Flights,
        *,
        budget: Callable[[int], Budget],
        cursor_of: Callable[[str], Any],
        monotonic: Callable[[], float],
    ) -> None:
        self.ledger = ledger
        self.sources = sources
        self.flights = flights
        self.budget = budget(0)
        self.accepting = True
        """False once the farm is stopping."""
        self.waiting = False
        """Something could not be placed: it has to be looked at again."""
        self.patient_until = 0.0
        """On the monotonic clock: the machine gives no cell before."""
        self._read_budget = budget
        self._cursor_of = cursor_of
        self._monotonic = monotonic
        self._budget_read = monotonic()
        self._no_cell_s = 0.0
        self._memory = Memory.since([source.virtual_s for source in sources.values()])
        self._leased: list[Launch] = []

    # -- plan and lease

    def look_at_machine(self) -> None:
        now = self._monotonic()
        if now - self._budget_read > BUDGET_S and (len(self.flights) or self.waiting):
            held = sum(flight.memory_bytes for flight in self.flights.running())
            self.budget, self._budget_read = self._read_budget(held), now

    def lease(self) -> None:
        """Lease what the plan says for the cells that are free."""
        self.waiting = False
        if self._monotonic() < self.patient_until:
            return
        free = self.budget.cells - len(self.flights.running())
        if free <= 0:
            return
        made = plan(self._view(free), self.ledger.clock())
        self._memory = made.memory
        for step in made:
            if isinstance(step, Place):
                self._leased.append(self._lease(step))
            else:
                self.waiting = True

    def nothing(self) -> None:
        """Nothing may be leased in this tick."""
        self.waiting = False

    def start(self, pool: Pool) -> list[Finished]:
        """After the commit: let cells begin what was leased. What found none comes back, not started."""
        back = []
        for launch in self._leased:
            try:
                pool.launch(launch)
            except NoCell:
                self.no_cell()
                back.append(Finished(launch.id, -1, (), tuple(spec.job_id for spec in launch.jobs)))
        self._leased.clear()
        return back

    def undone(self) -> None:
        self.flights.undo(self._leased)
        self._leased.clear()

    def holds(self, free: int) -> list[Hold]:
        """What would have to wait, and why, if so many cells were free."""
        return [step for step in plan(self._view(free), self.ledger.clock()) if isinstance(step, Hold)]

    def _view(self, free: int) -> View:
        """The facts that a plan is made from."""
        lanes, now, monotonic = [], self.ledger.clock(), self._monotonic()
        for name, source in self.sources.items():
            profile = source.settings.profile
            most = profile.batch * min(free, profile.max_concurrent)
            heads = self.ledger.tickets.heads(name, most + 1)  # the one more shows that the lane still waits
            if heads:
                lanes.append(
                    Lane(
                        source=name,
                        connector=source.settings.connector,
                        weight=source.settings.weight,
                        virtual_s=source.virtual_s,
                        paused=source.paused,
                        blocked=breaker.sentence(source.fuse, now),
                        trial=source.on_trial(now),
                        heads=heads,
                        ready=len(heads),
                        profile=profile,
                        reservation=source.reservations(),
                    )
                )
        return View(
            lanes=lanes,
            budget=self.budget,
            running=[
                Running(
                    source=flight.launch.source,
                    connector=flight.launch.connector,
                    cpu=flight.launch.cpu,
                    memory_bytes=flight.memory_bytes,
                    started_at=now - (monotonic - flight.started),
                    cost_s=flight.cost_s,
                )
                for flight in self.flights.running()
            ],
            accepting=self.accepting,
            memory=self._memory,
        )

    def _lease(self, place: Place) -> Launch:
        source = self.sources[place.source]
        source.virtual_s = place.virtual_s
        settings = source.settings
        specs: Sequence[JobSpec] = self.ledger.attempts.lease(
            place.job_ids, cpu=place.cpu, memory_bytes=place.memory_bytes
        )
        if place.stage is Stage.DISCOVER:
            specs = [self._with_cursor(place.source, spec) for spec in specs]
        launch = Launch(
            id=specs[0].attempt_id,
            source=place.source,
            connector=settings.connector,
            options=settings.options_json,
            jobs=tuple(specs),
            limits=Limits(
                timeout_s=settings.profile.timeout_s,
                stall_s=settings.profile.stall_s,
                memory_bytes=place.cap_bytes,
                nice=settings.profile.nice,
                requests_per_s=settings.requests_per_s,
                burst=settings.burst,
            ),
            cpu=place.cpu,
        )
        self.flights.begin(launch, place.memory_bytes, place.cost_s, self._monotonic())
        return launch

    def _with_cursor(self, source: str, spec: JobSpec) -> JobSpec:
        asked = json.loads(spec.payload) or {}
        anew = asked.get("type") in (RunType.FULL, RunType.REPLAY)
        asked["cursor"] = None if anew else self._cursor_of(source)
        return JobSpec(spec.job_id, spec.attempt_id, spec.stage, spec.key, spec.version, json.dumps(asked))

    # -- cells that cannot be had

    def cell_worked(self) -> None:
        self._no_cell_s = 0.0

    def no_cell(self) -> None:
        """The machine gives no cell: lease nothing for a while, each time for longer."""
        least, most = NO_CELL_S
        self._no_cell_s = min(max(2 * self._no_cell_s, least), most)
        self.patient_until = self._monotonic() + self._no_cell_s

    # -- measure

    def charge(self, flight: InFlight, finished: Finished) -> None:
        """The source is charged what it really held; its next reservation follows from what was measured."""
        source = self.sources.get(flight.launch.source)
        if source is None:
            return
        wall_s = self._monotonic() - flight.started
        cost_s = fairness.cost_s(wall_s, flight.launch.cpu, flight.memory_bytes, self.budget)
        source.virtual_s = fairness.charged(source.virtual_s, cost_s, source.settings.weight)
        source.served_s += cost_s
        source.measured(flight.launch.jobs[0].stage, finished.endings)

    def set_back(self, now: float) -> None:
        """The wall clock was set back to this: nothing is remembered as later."""
        self._memory = replace(
            self._memory,
            held={job_id: min(since, now) for job_id, since in self._memory.held.items()},
            served_at=tuple(min(at, now) for at in self._memory.served_at),
        )
