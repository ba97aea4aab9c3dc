"""Flights: the launches under way, from their lease to the settling of their last job."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from farm import spool
from farm.core.job import Event, JobSpec, Launch


@dataclass(slots=True)
class InFlight:
    """One launch."""

    launch: Launch
    memory_bytes: int
    cost_s: float
    """What the plan expects it to cost, in farm seconds."""
    started: float
    """On the monotonic clock: what it costs must not follow steps of the other one."""
    specs: dict[int, JobSpec]
    spool: Path
    landing: set[int] = field(default_factory=set)
    """Jobs that ended and whose content is not yet settled."""
    over: bool = False
    """Its cell is free again."""


class Flights:
    """By launch and by job; and what operators want of jobs that run."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._by_id: dict[int, InFlight] = {}
        self._launch_of: dict[int, int] = {}
        self.intents: dict[int, tuple[Event, str]] = {}
        """Of a job that runs: what is to become of it, and who says so."""

    def __len__(self) -> int:
        return len(self._by_id)

    def __getitem__(self, launch_id: int) -> InFlight:
        return self._by_id[launch_id]

    def of_job(self, job_id: int) -> InFlight | None:
        return self._by_id.get(self._launch_of.get(job_id, 0))

    def running(self) -> list[InFlight]:
        """Those that hold a cell."""
        return [flight for flight in self._by_id.values() if not flight.over]

    def landing(self) -> int:
        """How many jobs have ended and are not yet settled."""
        return sum(len(flight.landing) for flight in self._by_id.values())

    def begin(self, launch: Launch, memory_bytes: int, cost_s: float, started: float) -> None:
        specs = {spec.job_id: spec for spec in launch.jobs}
        self._by_id[launch.id] = InFlight(
            launch, memory_bytes, cost_s, started, specs, spool.path_of(self._home, launch.id)
        )
        self._launch_of.update(dict.fromkeys(specs, launch.id))

    def undo(self, launches: Iterable[Launch]) -> None:
        """Their leases did not come to be."""
        for launch in launches:
            del self._by_id[launch.id]
            for spec in launch.jobs:
                del self._launch_of[spec.job_id]

    def settled(self, launch_id: int, job_ids: Sequence[int]) -> None:
        """These have ended; one that went back may have been leased again in the same tick."""
        for job_id in job_ids:
            if self._launch_of.get(job_id) == launch_id:
                del self._launch_of[job_id]
        for job_id in self.intents.keys() & job_ids:
            del self.intents[job_id]

    def landed(self, job_id: int) -> None:
        """It is settled, its content too."""
        launch_id = self._launch_of[job_id]
        self._by_id[launch_id].landing.discard(job_id)
        self.settled(launch_id, [job_id])

    def clear(self) -> None:
        """After a commit: launches of which all is settled are over, and need no spool."""
        for flight in [flight for flight in self._by_id.values() if flight.over and not flight.landing]:
            del self._by_id[flight.launch.id]
            flight.spool.unlink(missing_ok=True)
