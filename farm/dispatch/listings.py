"""Listings that have landed and whose units become jobs, step by step, so that other work gets its turn.

The store was compared with a listing when it landed. What lands of the same units between that moment and the
submission is noted here (`landed`), so that nothing is read twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from farm.core.job import Ending, JobSpec, Stage
from farm.ledger.jobs import NewJob
from farm.ledger.ledger import Ledger
from farm.sources import Source
from farm.store.landing import Child, Landed

CHILDREN_AT_ONCE = 2_000
"""A listing's children are submitted in steps of so many."""
FIRST_CHILDREN = 256
"""The first step is short: cells work on it while the next is written."""


@dataclass(slots=True)
class Unfolding:
    """One listing."""

    landed: Landed
    ending: Ending
    source: str
    children: Iterator[Sequence[Child]]
    step: Sequence[Child] | None = None
    """Taken from `children`, and not yet committed."""
    read_since: dict[str, str] = field(default_factory=dict)
    """The units that were read since the store was compared with this listing, and their versions."""
    over: bool = False


class Listings:
    """One at a time, in the order they landed."""

    def __init__(self, ledger: Ledger, sources: Mapping[str, Source]) -> None:
        self._ledger = ledger
        self._sources = sources
        self._waiting: deque[Unfolding] = deque()
        self._stepped = False
        """In the present transaction; without a step its commit says nothing of the listings."""

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, landed: Landed, ending: Ending, source: str) -> None:
        chunks = landed.children.chunks(CHILDREN_AT_ONCE, FIRST_CHILDREN)
        self._waiting.append(Unfolding(landed, ending, source, chunks))

    def landed(self, source: str, unit: JobSpec) -> None:
        """This unit has landed, after all listings that were added before."""
        for listing in self._waiting:
            if listing.source == source:
                listing.read_since[unit.key] = unit.version

    def step(self) -> tuple[Landed, Ending] | None:
        """Submit the next children of the first one, in the caller's transaction; the listing that has no more."""
        if not self._waiting:
            return None
        self._stepped = True
        listing = self._waiting[0]
        job = self._ledger.jobs.facts([listing.ending.job_id])[listing.ending.job_id]
        source = self._sources.get(job.source)
        if listing.step is None and source:
            listing.step = next(listing.children, None)
        if listing.step is not None and source:
            self._ledger.jobs.submit(
                job.run_id,
                job.source,
                [
                    NewJob(Stage.EXTRACT, child.key, child.version, child.payload)
                    for child in listing.step
                    if listing.read_since.get(child.key) != child.version
                ],
                max(int(source.settings.priority), job.priority),
                cause=f"listed by job {job.id}",
                listed=True,
            )
            return None
        if listing.landed.complete:
            self._ledger.jobs.cancel_unlisted(job.source, listing.ending.attempt_id, listing.landed.unread)
        listing.over = True
        return listing.landed, listing.ending

    def committed(self) -> None:
        if not self._stepped:
            return
        self._stepped = False
        self._waiting[0].step = None
        if self._waiting[0].over:
            self._waiting.popleft()

    def undone(self) -> bool:
        """The transaction did not happen; whether the first listing had come to its end in it."""
        if not self._stepped:
            return False
        self._stepped = False
        was_over, self._waiting[0].over = self._waiting[0].over, False
        return was_over
