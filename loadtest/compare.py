"""Compare: the same work through the farm and its peers, taking turns, so that whatever else the machine
does falls on all of them. Medians and spread; one line for each peer at the end."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from rich import box
from rich.console import Console
from rich.table import Table

from loadtest.drive import machine
from loadtest.figures import median
from loadtest.peers import peer

WORK = "no-op"
SLOWER = 4
"""A peer gets so many fewer jobs than the farm: a rate needs seconds, not jobs."""


def compare(
    names: Sequence[str],
    *,
    workers: int,
    jobs: int,
    repetitions: int,
    patience_s: float = 0.0,
    say: Console | None = None,
) -> dict[str, Any]:
    """Rates of each peer: jobs a second at work, and from the first enqueue to the last job done.

    Each turn waits up to `patience_s` for the machine to be quiet; how busy it was all the same is kept.
    """
    say = say or Console(stderr=True)
    rates: dict[str, dict[str, list[float]]] = {n: {"work": [], "enqueue": [], "through": []} for n in names}
    busy: list[float] = []
    for repetition in range(repetitions):
        busy.append(quiet(patience_s))
        for name in names:
            share = jobs if name == "farm" else max(1, jobs // SLOWER)
            found = _once(name, workers, share)
            for kind, rate in found.items():
                rates[name][kind].append(rate)
            say.print(f"{repetition + 1}/{repetitions}  {name:<8} {found['work']:>9,.0f} jobs/s")
    return {
        "work": WORK,
        "machine": machine(),
        "workers": workers,
        "busy_before_cores": busy,
        "peers": {name: {"rates": rates[name], "lacks": list(peer(name).LACKS)} for name in names},
        "ratios": {name: ratios(rates["farm"], rates[name]) for name in names if name != "farm"},
    }


def quiet(patience_s: float, look_s: float = 1.0) -> float:
    """Wait until others take less than a fifth of a core for a second; the cores they took at the last look."""
    deadline = time.monotonic() + patience_s
    while True:
        taken = sum(psutil.cpu_percent(look_s, percpu=True)) / 100
        if taken < 0.2 or time.monotonic() > deadline:
            return round(taken, 2)


def _once(name: str, workers: int, jobs: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix=f"loadtest-{name}-") as folder:
        queue = peer(name)(Path(folder), workers)
        gc.collect()
        try:
            queue.start()
            enqueue_s = queue.enqueue(jobs)
            rate = queue.work()
        finally:
            queue.close()
    return {"work": rate, "enqueue": jobs / enqueue_s, "through": jobs / (enqueue_s + jobs / rate)}


def ratios(farm: dict[str, list[float]], other: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Farm over peer: of the medians, and the least and most of the turns.

    >>> ratios({"work": [4.0, 6.0, 5.0]}, {"work": [1.0, 2.0, 2.0]})
    {'work': {'median': 2.5, 'least': 2.5, 'most': 4.0}}
    """
    found = {}
    for kind in farm:
        turns = [ours / theirs for ours, theirs in zip(farm[kind], other[kind], strict=True)]
        found[kind] = {
            "median": median(farm[kind]) / median(other[kind]),
            "least": min(turns),
            "most": max(turns),
        }
    return found


def show(found: dict[str, Any], console: Console) -> None:
    table = Table(
        "queue", "at work (median, least, most)", "enqueue (median)", "both (median)", box=box.SIMPLE
    )
    for name, side in found["peers"].items():
        rates = side["rates"]
        work = rates["work"]
        table.add_row(
            name,
            f"{median(work):,.0f}, {min(work):,.0f}, {max(work):,.0f}",
            f"{median(rates['enqueue']):,.0f}",
            f"{median(rates['through']):,.0f}",
        )
    console.print(table)
    console.print(f"others took {median(found['busy_before_cores']):.2f} cores before a turn", style="dim")
    for name, side in found["peers"].items():
        for lack in side["lacks"]:
            console.print(f"{name}: {lack}", style="dim")
    for name, ratio in found["ratios"].items():
        work = ratio["work"]
        console.print(
            f"farm vs {name} ({found['work']}): {work['median']:.2f}x",
            highlight=False,
        )
        console.print(
            f"  turn by turn {work['least']:.2f}x to {work['most']:.2f}x; "
            f"with enqueueing {ratio['through']['median']:.2f}x",
            style="dim",
            highlight=False,
        )
