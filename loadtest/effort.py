"""What a piece of work takes, by the clock and in CPU time: other programs on the machine move the latter far less."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
"""What the kernel counts CPU time in; less than this is taken for this."""


@dataclass
class Effort:
    wall_s: float = 0.0
    cpu_s: float = 0.0
    others_cores: float = 0.0
    """What programs that have no part in it took of the machine meanwhile."""


@dataclass(frozen=True)
class Work:
    """So many jobs, done with this effort."""

    jobs: int
    effort: Effort

    @property
    def rate(self) -> float:
        """Jobs a second."""
        return self.jobs / self.effort.wall_s

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU time for each."""
        return self.effort.cpu_s / self.jobs * 1e6


@contextlib.contextmanager
def measured() -> Iterator[Effort]:
    """Filled in when the block is left: CPU of this process and of everything below it."""
    effort = Effort()
    cpu_s, machine_s = used_s(), machine_used_s()
    began = time.perf_counter()
    yield effort
    effort.wall_s = time.perf_counter() - began
    effort.cpu_s = max(used_s() - cpu_s, TICK_S)
    effort.others_cores = max(0.0, machine_used_s() - machine_s - effort.cpu_s) / effort.wall_s


def machine_used_s() -> float:
    """CPU seconds of all programs."""
    all_ = psutil.cpu_times()
    return float(sum(all_) - all_.idle - all_.iowait - all_.guest - all_.guest_nice)


def used_s() -> float:
    """CPU seconds of this process and of everything below it, those included that have ended there."""
    me = psutil.Process()
    own = me.cpu_times()
    seconds = own.user + own.system
    for process in me.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system
    return float(seconds)
