"""Compare: the same work through the farm and its peers, taking turns, so that whatever else the machine
does falls on all of them. Medians and spread; one line for each peer and work at the end."""

from __future__ import annotations

import gc
import math
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from loadtest import papers, reading, redis
from loadtest.drive import machine
from loadtest.figures import median
from loadtest.peers import FLOOR, NAMES, Missing, Peer, peer

NOOP, REAL = "no-op", "real"
WORKS = (NOOP, REAL)
WARM = 64
"""Documents that every worker has read before the clock starts."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of what. Each turn waits up to `patience_s` for the machine to be quiet."""

    names: Sequence[str] = NAMES
    works: Sequence[str] = WORKS
    workers: int = 2
    jobs: int = 40_000
    documents: int = 2_000
    repetitions: int = 5
    patience_s: float = 0.0
    within_s: float = math.inf
    """After the first repetition, another one is begun only when it would end by then."""

    def goes_on(self, repetitions: int, end_s: float) -> bool:
        """Whether another repetition is begun after so many; it would end at `end_s`.

        >>> plan = Plan(repetitions=3, within_s=60.0)
        >>> plan.goes_on(0, 99.0), plan.goes_on(1, 59.0), plan.goes_on(1, 61.0), plan.goes_on(3, 5.0)
        (True, True, False, False)
        """
        return repetitions == 0 or (repetitions < self.repetitions and end_s < self.within_s)


@dataclass
class Folder:
    """Documents to read, and what whoever has read them must have in the end."""

    path: Path
    documents: int
    bytes: int
    digest: str = ""


@dataclass
class Turns:
    """What was measured of each peer, turn by turn."""

    noop: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    real: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    busy: list[float] = field(default_factory=list)


def compare(plan: Plan, *, say: Console | None = None) -> dict[str, Any]:
    """Everything that was found, ready for JSON. A peer that cannot run is in `left_out`, with the reason."""
    say = say or Console(stderr=True)
    began = time.monotonic()
    turns = Turns()
    with tempfile.TemporaryDirectory(prefix="loadtest-") as folder:
        present = dict(_present(plan, turns.left_out))
        folders = _lay_down(plan, present, Path(folder)) if REAL in plan.works else {}
        for name, why in turns.left_out.items():
            say.print(f"{name} is left out: {why}")
        repetition, longest_s = 0, 0.0
        while plan.goes_on(repetition, time.monotonic() - began + longest_s):
            repetition_began = time.monotonic()
            for work in plan.works:
                names = list(present) if repetition % 2 == 0 else list(reversed(present))
                for name in names:
                    if name in turns.left_out:
                        continue
                    turns.busy.append(quiet(plan.patience_s))
                    said = _turn(work, name, present[name], plan, folders, turns)
                    say.print(f"{repetition + 1}/{plan.repetitions}  {work:<6} {name:<16} {said}")
            repetition += 1
            longest_s = max(longest_s, time.monotonic() - repetition_began)
        if repetition < plan.repetitions:
            say.print(f"the time is up after {repetition} of {plan.repetitions} repetitions")
    return {
        "machine": machine(),
        "workers": plan.workers,
        "repetitions": repetition,
        "busy_before_cores": turns.busy,
        "documents": {str(f.documents): f.bytes for share, f in folders.items() if share},
        "peers": {n: {"lacks": list(p.LACKS), "offers": list(p.OFFERS)} for n, p in present.items()},
        "left_out": turns.left_out,
        NOOP: summary(turns.noop, dict.fromkeys(("work", "through", "cpu_us", "enqueue"), rate)),
        REAL: summary(turns.real, dict.fromkeys(("wall_s", "cpu_s"), per_document)),
        "floor": min((n for n in FLOOR if n in turns.real), key=lambda n: _wall(turns.real[n]), default=None),
    }


def quiet(patience_s: float, look_s: float = 0.5) -> float:
    """Wait until others take less than a fifth of a core for a moment; the cores they took at the last look."""
    deadline = time.monotonic() + patience_s
    while True:
        taken = sum(psutil.cpu_percent(look_s, percpu=True)) / 100
        if taken < 0.2 or time.monotonic() > deadline:
            return round(taken, 2)


def _present(plan: Plan, left_out: dict[str, str]) -> Iterator[tuple[str, type[Peer]]]:
    for name in plan.names:
        try:
            found = peer(name)
            if getattr(found, "NEEDS_REDIS", False):
                redis.install()
            yield name, found
        except Missing as error:
            left_out[name] = str(error)


def _lay_down(plan: Plan, present: dict[str, type[Peer]], below: Path) -> dict[float, Folder]:
    """A folder for each share of the documents that some peer reads; 0: the one to warm up with."""
    folders = {}
    for share in {0.0, *(p.READS for p in present.values())}:
        count = max(1, round(plan.documents * share)) if share else WARM
        path = below / f"documents-{count}"
        folders[share] = Folder(path, count, papers.lay_down(path, count, seed="papers" if share else "warm"))
    return folders


def _turn(
    work: str, name: str, kind: type[Peer], plan: Plan, folders: dict[float, Folder], turns: Turns
) -> str:
    """One turn; what to say of it. A peer that fails takes no further part."""
    with tempfile.TemporaryDirectory(prefix=f"loadtest-{name}-") as scratch:
        queue = kind(Path(scratch), plan.workers)
        gc.collect()
        try:
            try:
                queue.start()
                if work == NOOP:
                    found = noops(queue, max(1, round(plan.jobs * kind.SHARE)))
                else:
                    found = reads(queue, folders[kind.READS], folders[0.0])
            finally:
                queue.close()
            if work == REAL:
                check(queue.store, folders[kind.READS])
        except (Missing, RuntimeError, TimeoutError, sqlite3.DatabaseError) as error:
            if name == "farm":
                raise
            turns.left_out[name] = f"it failed: {error}"
            return turns.left_out[name]
    (turns.noop if work == NOOP else turns.real).setdefault(name, []).append(found)
    if work == NOOP:
        return (
            f"{found['work']:>9,.0f} jobs/s, {found['cpu_us']:,.0f} µs of CPU each;"
            f" others took {found['others_cores']:.2f} cores"
        )
    return (
        f"{found['wall_s']:>9.2f} s, {found['cpu_s']:.2f} s of CPU, {found['documents']:,.0f} documents;"
        f" others took {found['others_cores']:.2f} cores"
    )


def noops(queue: Peer, jobs: int) -> dict[str, float]:
    """Jobs a second: at work, enqueueing (where there is a queue), and both; microseconds of CPU for each at work."""
    enqueue_s = queue.enqueue(jobs)
    work = queue.work()
    found = {
        "work": work.rate,
        "through": jobs / (enqueue_s + jobs / work.rate),
        "cpu_us": work.cpu_us,
        "others_cores": work.effort.others_cores,
    }
    return found | ({"enqueue": jobs / enqueue_s} if enqueue_s else {})


def reads(queue: Peer, folder: Folder, warm: Folder) -> dict[str, float]:
    """Seconds by the clock and of CPU time, and the cores that other programs took meanwhile."""
    effort = queue.read(folder.path, warm.path)
    return {
        "wall_s": effort.wall_s,
        "cpu_s": effort.cpu_s,
        "others_cores": effort.others_cores,
        "documents": folder.documents,
    }


def check(store: Path, folder: Folder) -> None:
    """RuntimeError unless all documents are there, indexed, and the same as the first peer had them."""
    count = reading.done(store)
    if count != folder.documents:
        raise RuntimeError(f"{count} of {folder.documents} documents were there in the end")
    digest = reading.digest(store)
    folder.digest = folder.digest or digest
    if digest != folder.digest:
        raise RuntimeError("its rows differ from those of the others")


def rate(turn: dict[str, float], kind: str) -> float | None:
    return turn.get(kind)


def per_document(turn: dict[str, float], kind: str) -> float | None:
    """Seconds, so that those who read fewer can be compared."""
    return turn[kind] / turn["documents"]


def _wall(turns: list[dict[str, float]]) -> float:
    return median([turn["wall_s"] / turn["documents"] for turn in turns])


def summary(turns: dict[str, list[dict[str, float]]], kinds: dict[str, Any]) -> dict[str, Any]:
    """Each peer's values, and the farm's over them: of the medians, and the least and most of the turns.

    >>> found = summary({"farm": [{"work": 4.0}, {"work": 6.0}, {"work": 5.0}],
    ...                  "huey": [{"work": 1.0}, {"work": 2.0}, {"work": 2.0}]}, {"work": rate})
    >>> found["ratios"]["huey"]
    {'work': {'median': 2.5, 'least': 2.5, 'most': 4.0}}
    """
    values: dict[str, dict[str, list[float]]] = {}
    for name, some in turns.items():
        read = {kind: [value(turn, kind) for turn in some] for kind, value in kinds.items()}
        values[name] = {kind: found for kind, found in read.items() if None not in found}
    farm = values.get("farm", {})
    ratios = {
        name: {kind: ratio(farm[kind], found[kind]) for kind in found if kind in farm}
        for name, found in values.items()
        if name != "farm"
    }
    return {"turns": turns, "values": values, "ratios": ratios}


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Ours over theirs. A peer that failed in a later turn has fewer.

    >>> ratio([2.0, 4.0, 3.0], [1.0, 2.0])
    {'median': 2.0, 'least': 2.0, 'most': 2.0}
    """
    each = [a / b for a, b in zip(ours, theirs, strict=False)]
    return {"median": median(ours) / median(theirs), "least": min(each), "most": max(each)}
