"""Does it fit? What runs never takes more, in sum, than the budget; and why something waits, as a sentence.

A demand for more cores than there are is taken for as many as there are: the job only runs longer. A demand
for more memory than the whole budget can never be met, so it is told apart from one that has to wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

_EPSILON = 1e-9
"""Cores are sums of fractions: 0.1 + 0.2 must fit into 0.3."""


class HoldReason(StrEnum):
    """Why a job that is ready does not run yet."""

    NO_CELL = "no_cell"
    CPU = "cpu"
    MEMORY = "memory"
    TOO_BIG = "too_big"
    SOURCE_LIMIT = "source_limit"
    CONNECTOR_LIMIT = "connector_limit"
    PAUSED = "paused"
    BLOCKED = "blocked"
    STOPPING = "stopping"
    YIELDING = "yielding"


SCARCE = frozenset({HoldReason.CPU, HoldReason.MEMORY})
"""Holds that a stream of smaller jobs could prolong for ever, were room not kept for the one that waits."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What the machine can give now."""

    cpu: float
    """Cores."""
    memory_bytes: int
    cells: int


@dataclass(frozen=True, slots=True)
class Demand:
    """What one launch would take, and the limits its source and connector set."""

    source: str
    connector: str
    cpu: float
    memory_bytes: int
    source_limit: int
    connector_limit: int


@dataclass(frozen=True, slots=True)
class Held:
    """What runs, in sum."""

    cpu: float = 0.0
    memory_bytes: int = 0
    cells: int = 0
    sources: Mapping[str, int] = field(default_factory=dict)
    """Launches of each source."""
    connectors: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, launches: Iterable[tuple[str, str, float, int]]) -> Held:
        """The sum of (source, connector, cpu, memory_bytes)."""
        cpu, memory, cells = 0.0, 0, 0
        sources: dict[str, int] = {}
        connectors: dict[str, int] = {}
        for source, connector, cores, size in launches:
            cpu += cores
            memory += size
            cells += 1
            sources[source] = sources.get(source, 0) + 1
            connectors[connector] = connectors.get(connector, 0) + 1
        return cls(cpu, memory, cells, sources, connectors)

    def plus(self, demand: Demand) -> Held:
        """What runs once this does too."""
        return Held(
            self.cpu + demand.cpu,
            self.memory_bytes + demand.memory_bytes,
            self.cells + 1,
            {**self.sources, demand.source: self.sources.get(demand.source, 0) + 1},
            {**self.connectors, demand.connector: self.connectors.get(demand.connector, 0) + 1},
        )


def limited(demand: Demand, held: Held) -> HoldReason | None:
    """Whether the source or its connector already runs as much as it may."""
    if held.sources.get(demand.source, 0) >= demand.source_limit:
        return HoldReason.SOURCE_LIMIT
    if held.connectors.get(demand.connector, 0) >= demand.connector_limit:
        return HoldReason.CONNECTOR_LIMIT
    return None


def fits(demand: Demand, held: Held, budget: Budget) -> bool:
    """Whether there are a cell, cores and memory for this beside what runs, limits aside."""
    return (
        held.cells < budget.cells
        and held.memory_bytes + demand.memory_bytes <= budget.memory_bytes
        and held.cpu + min(demand.cpu, budget.cpu) <= budget.cpu + _EPSILON
    )


def admit(demand: Demand, held: Held, budget: Budget) -> HoldReason | None:
    """None when this may start beside what runs; else the first reason why not."""
    if demand.memory_bytes > budget.memory_bytes:
        return HoldReason.TOO_BIG
    limit = limited(demand, held)
    if limit is not None:
        return limit
    if held.cells >= budget.cells:
        return HoldReason.NO_CELL
    if held.memory_bytes + demand.memory_bytes > budget.memory_bytes:
        return HoldReason.MEMORY
    return None if fits(demand, held, budget) else HoldReason.CPU


def sentence(reason: HoldReason, demand: Demand, held: Held, budget: Budget) -> str:
    """The reason for a person, with the figures that decided."""
    match reason:
        case HoldReason.TOO_BIG:
            needs, whole = size(demand.memory_bytes), size(budget.memory_bytes)
            return f"cannot run: needs {needs} of memory, more than the whole budget of {whole}"
        case HoldReason.SOURCE_LIMIT:
            running, most = held.sources.get(demand.source, 0), demand.source_limit
            return f"waits for its source: {running} of at most {most} launches of {demand.source} run"
        case HoldReason.CONNECTOR_LIMIT:
            running, most = held.connectors.get(demand.connector, 0), demand.connector_limit
            return f"waits for its connector: {running} of at most {most} launches of {demand.connector} run"
        case HoldReason.NO_CELL:
            return f"waits for a free cell: all {budget.cells} are busy"
        case HoldReason.MEMORY:
            needs, whole = size(demand.memory_bytes), size(budget.memory_bytes)
            free = size(max(budget.memory_bytes - held.memory_bytes, 0))
            return f"waits for memory: needs {needs}, {free} of {whole} are free"
        case HoldReason.CPU:
            idle = f"{max(budget.cpu - held.cpu, 0.0):.3g} of {budget.cpu:.3g}"
            return f"waits for processor: needs {min(demand.cpu, budget.cpu):.3g} cores, {idle} are free"
        case _:
            raise ValueError(f"{reason} is not decided by admission")


def size(n: float) -> str:
    """Bytes for a person.

    >>> size(512_000_000), size(4_000_000_000), size(900)
    ('512 MB', '4.0 GB', '900 B')
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n >= factor * 0.9995:
            amount = n / factor
            return f"{amount:.1f} {unit}" if amount < 10 else f"{amount:.0f} {unit}"
    return f"{int(n)} B"
