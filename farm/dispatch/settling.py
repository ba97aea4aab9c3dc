"""Settling: what came back from the cells and the lander, on its way into the ledger.

What is taken in stays at hand until its commit (`committed`), so that a transaction that did not happen
(`undone`) is made again from the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from farm import spool
from farm.core.job import Ending, Finished, Outcome, RunType, Stage
from farm.dispatch.flights import Flights, InFlight
from farm.dispatch.listings import Listings
from farm.lander import Entry, Lander
from farm.ledger.ledger import Ledger
from farm.settle import Settler
from farm.sources import Source
from farm.store.landing import Landed, Landing
from farm.telemetry import Name, log
from farm.words import plural


class Settling:
    """`write` is called in the ledger's transaction, then `committed` or `undone`."""

    def __init__(
        self,
        ledger: Ledger,
        lander: Lander,
        settler: Settler,
        sources: Mapping[str, Source],
        flights: Flights,
        *,
        drain: bool,
        charge: Callable[[InFlight, Finished], None],
    ) -> None:
        """`charge`: told of each launch once, when its cell is free again."""
        self.ledger = ledger
        self.lander = lander
        self.settler = settler
        self.sources = sources
        self.flights = flights
        self.listings = Listings(ledger, sources)
        self._drain = drain
        self._charge = charge
        self._returned: list[Finished] = []
        self._landed: list[tuple[Landed, Ending]] = []

    def returned(self, finished: Finished) -> None:
        """A launch has come back from its cell."""
        self._returned.append(finished)

    @property
    def waits(self) -> bool:
        """Something came back and is not yet in the ledger."""
        return bool(self._returned)

    def write(self, *, unfold: bool) -> None:
        """All that has come in; with `unfold` the next step of a listing."""
        self._settle_finished()
        self._take_landed()
        self._settle(self._landed)
        if unfold and (listing := self.listings.step()):
            # First, as `undone` takes it back whatever step of its settling fails.
            self._landed.append(listing)
            self._settle([listing])

    def committed(self) -> None:
        """What was taken in is in the ledger now."""
        for finished in self._returned:
            landing = self.flights[finished.launch_id].landing
            settled = [ending.job_id for ending in finished.endings if ending.job_id not in landing]
            self.flights.settled(finished.launch_id, [*settled, *finished.unstarted])
        self._returned.clear()
        for _, ending in self._landed:
            self.flights.landed(ending.job_id)
        self._landed.clear()
        self.listings.committed()

    def undone(self) -> None:
        if self.listings.undone():
            self._landed.pop()

    # -- from the cells

    def _settle_finished(self) -> None:
        succeeded: list[Ending] = []
        failed: list[Ending] = []
        for finished in self._returned:
            flight = self.flights[finished.launch_id]
            if not flight.over:
                flight.over = True
                self._charge(flight, finished)
                self._hear(flight.launch.source, finished.endings)
            for ending in finished.endings:
                if ending.outcome is not Outcome.SUCCEEDED:
                    failed.append(ending)
                elif self._has_content(flight, ending):
                    self._land(flight, ending)
                else:
                    succeeded.append(ending)
            self._give_back(flight, finished.unstarted)
        self.settler.succeeded(succeeded)
        self.settler.failed(failed, self.flights.intents)

    def _land(self, flight: InFlight, ending: Ending) -> None:
        """Hand it to the lander, once; that the tick may be undone is no matter: landing comes before settling."""
        if ending.job_id not in flight.landing:
            flight.landing.add(ending.job_id)
            self.lander.put(self._entry(flight, ending))

    def _hear(self, name: str, endings: Sequence[Ending]) -> None:
        """A drain has to end: it counts attempts instead of waiting for a source, but for as long as was asked."""
        source, now = self.sources.get(name), self.ledger.clock()
        if source is None:
            return
        for ending in endings:
            if not self._drain or ending.retry_after_s is not None:
                source.hear(ending, now)

    def _has_content(self, flight: InFlight, ending: Ending) -> bool:
        """A job with neither content nor a version to note has nothing to land."""
        spec = flight.specs[ending.job_id]
        return ending.items > 0 or spec.stage is Stage.DISCOVER or bool(spec.version)

    def _entry(self, flight: InFlight, ending: Ending) -> Entry:
        spec = flight.specs[ending.job_id]
        payload = json.loads(spec.payload) or {}
        landing = Landing(
            source=flight.launch.source,
            job_id=ending.job_id,
            attempt_id=ending.attempt_id,
            stage=spec.stage,
            key=spec.key,
            version=spec.version,
            uri=payload.get("uri", ""),
            started_at=ending.started_at,
            lines=spool.Part(flight.spool, ending.start, ending.end),
            run_type=RunType(payload.get("type", RunType.INCREMENTAL)),
        )
        return Entry(landing, ending, flight.spool)

    def _give_back(self, flight: InFlight, job_ids: Sequence[int]) -> None:
        """What was leased and never started goes back unharmed, unless an operator wanted it ended."""
        if not job_ids:
            return
        self.settler.failed(
            [
                Ending(i, flight.specs[i].attempt_id, Outcome.INTERRUPTED, message="was not started")
                for i in job_ids
            ],
            self.flights.intents,
        )

    # -- from the lander

    def _take_landed(self) -> None:
        """What has landed can be settled; a listing unfolds first. The lander tells in the order of landing."""
        for result, ending in self.lander.poll():
            if result.malformed:
                log(Name.LINES_REJECTED, job=ending.job_id, lines=result.rejected, first=result.malformed[0])
            if result.children or result.complete:
                self.listings.add(result, ending, self._flight_of(ending).launch.source)
            else:
                self._landed.append((result, ending))
                if self.listings and not (result.stale or result.repeated):
                    self._tell_listings(ending)

    def _tell_listings(self, ending: Ending) -> None:
        flight = self._flight_of(ending)
        spec = flight.specs[ending.job_id]
        if spec.stage is Stage.EXTRACT:
            self.listings.landed(flight.launch.source, spec)

    def _flight_of(self, ending: Ending) -> InFlight:
        flight = self.flights.of_job(ending.job_id)
        assert flight is not None, "what lands is in flight until it is settled"
        return flight

    def _settle(self, landed: Sequence[tuple[Landed, Ending]]) -> None:
        """Counted with the success and not before: what lands again after a crash counts once."""
        self.settler.succeeded([ending for _, ending in landed])
        for result, ending in landed:
            self.ledger.runs.count_documents(
                ending.job_id,
                new=result.new,
                changed=result.changed,
                deleted=result.deleted,
                unchanged=result.unchanged,
                rejected=result.rejected,
            )
            if result.unread:
                unread = plural(len(result.unread), "folder")
                self.ledger.runs.remark(
                    ending.job_id, f"{unread} could not be read (`farm jobs show {ending.job_id}`)"
                )
