"""Whose turn is it? Start-time fair queueing over sources, by the resource time they really used.

Each source carries its virtual time: what it used, in farm seconds, divided by its weight. The smallest goes
first; so in the long run, whatever their demand and however long their jobs, busy sources get shares that are
to each other as their weights. (Goyal, Vin, Cheng: Start-time Fair Queueing, SIGCOMM 1996.)

- A farm second is one second of the whole farm. A launch costs its running time times its dominant share:
  the largest part it holds of the cores, the memory or the cells (Ghodsi et al.: Dominant Resource Fairness,
  NSDI 2011).
- While it runs a launch counts as what it was expected to cost, or what it has cost by now if that is more;
  once it ends, as what it cost. So no source gains by jobs that are longer than they look.
- A source that was idle, or held back by its own limit, saves nothing up: it comes back level with the least
  served of those that wait.
- Priority goes before fairness: a ready job of a higher class runs first. A class that is passed over for
  `ageing_s` rises by one, until one of its jobs was placed: strict priority with a guaranteed trickle.
"""

from __future__ import annotations

from collections.abc import Iterable

from farm.core.admission import Budget
from farm.core.job import Priority

AGEING_S = 30.0
"""A class of priority that has not been served for so long is raised by one."""


def share(cpu: float, memory_bytes: int, budget: Budget) -> float:
    """The dominant share of a launch: the largest part it holds of any resource, in (0, 1]."""
    largest = max(
        cpu / budget.cpu if budget.cpu > 0 else 1.0,
        memory_bytes / budget.memory_bytes if budget.memory_bytes > 0 else 1.0,
        1 / budget.cells if budget.cells > 0 else 1.0,
    )
    return min(largest, 1.0)


def cost_s(wall_s: float, cpu: float, memory_bytes: int, budget: Budget) -> float:
    """What a launch that holds so much for `wall_s` seconds costs, in farm seconds.

    >>> cost_s(4.0, 1.0, 2_000, Budget(cpu=4.0, memory_bytes=4_000, cells=8))
    2.0
    """
    return max(wall_s, 0.0) * share(cpu, memory_bytes, budget)


def charged(virtual_s: float, cost_s: float, weight: float) -> float:
    """A source's virtual time after it was served."""
    return virtual_s + cost_s / weight


def joined(used_s: float, level_s: float) -> float:
    """The virtual time with which a source competes: its own, but never behind those that already wait."""
    return max(used_s, level_s)


def aged(priority: Priority, waited_s: float, ageing_s: float = AGEING_S) -> Priority:
    """The class that counts for a class of jobs which has been passed over for `waited_s`.

    >>> aged(Priority.LOW, 31.0), aged(Priority.LOW, 300.0)
    (<Priority.NORMAL: 1>, <Priority.HIGH: 2>)
    """
    return Priority(min(Priority.HIGH, priority + int(max(waited_s, 0.0) // ageing_s)))


def jain(shares: Iterable[float]) -> float:
    """Jain's index of fairness: 1 when all shares are equal, 1/n when one has everything.

    >>> jain([1, 1, 1]), jain([1, 0, 0, 0])
    (1.0, 0.25)
    """
    values = list(shares)
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0
