"""The ledger, the store and what settles between them, without workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from farm import sqlite
from farm.connector import Item
from farm.core.job import Ending, Finished, Launch, Limits, Outcome, RunType, Stage
from farm.core.profile import MIB
from farm.dispatch.flights import Flights
from farm.dispatch.settling import Settling
from farm.lander import Lander
from farm.ledger.jobs import NewJob
from farm.ledger.ledger import Ledger
from farm.lines import encode
from farm.recovery import Salvaged
from farm.settle import Settler
from farm.sources import Source, departed
from farm.spool import path_of
from tests.support.wait import until

SOURCE = "repository"


@dataclass
class Shop:
    """The ledger, the store and what settles between them, without workers: their spools are written by hand."""

    home: Path
    ledger: Ledger
    flights: Flights
    settler: Settler
    settling: Settling
    run_id: int = 0

    def begin(self, *jobs: NewJob) -> list[Launch]:
        """Submit these and lease each of them a launch of its own."""
        launches: list[Launch] = []
        with self.ledger.transaction():
            self.run_id = self.run_id or self.ledger.runs.create(SOURCE, RunType.INCREMENTAL, "manual") or 0
            for job in jobs:
                id_ = self.ledger.jobs.next_id()
                self.ledger.jobs.submit(self.run_id, SOURCE, [job], 1)
                (spec,) = self.ledger.attempts.lease([id_], cpu=1.0, memory_bytes=MIB)
                limits = Limits(60.0, 60.0, MIB)
                launches.append(Launch(spec.attempt_id, SOURCE, "none", "{}", (spec,), limits))
                self.flights.begin(launches[-1], MIB, 1.0, 0.0)
        return launches

    def end(self, launch: Launch, *items: Item) -> None:
        """Its worker found these."""
        path, (spec,) = path_of(self.home, launch.id), launch.jobs
        path.write_bytes(b"".join(encode(item) for item in items))
        ending = Ending(
            spec.job_id,
            spec.attempt_id,
            Outcome.SUCCEEDED,
            started_at=1.0,
            end=path.stat().st_size,
            items=len(items),
        )
        self.settling.returned(Finished(launch.id, 0, (ending,), ()))

    def land(self, launches: int) -> None:
        """Until so many have landed; of the last ones the ledger has not heard."""
        self.tick(unfold=False)
        until(lambda: self.landings() == launches, 20, what=f"{launches} landings")

    def tick(self, *, unfold: bool = True) -> None:
        with self.ledger.transaction():
            self.settling.write(unfold=unfold)
        self.settling.committed()

    def adopt(self, left: Salvaged) -> None:
        """As the dispatcher does with what a dead farm left."""
        self.flights.begin(left.launch, 0, 0.0, 0.0)
        self.settling.returned(left.finished)

    def settle_all(self) -> None:
        """Until nothing runs."""

        def settled() -> bool:
            self.tick()
            return not self.ledger.connection.execute("SELECT 1 FROM job WHERE state = 'running'").fetchone()

        until(settled, 20, what="an end of what runs")

    def landings(self) -> int:
        with closing(sqlite.open_reader(self.home / "store.db")) as db:
            return int(db.execute("SELECT count(*) FROM landing").fetchone()[0])

    def waiting(self) -> list[tuple[str, str]]:
        """Key and version of the units that are still to be read."""
        rows = self.ledger.connection.execute(
            "SELECT key, version FROM job WHERE stage = 'extract' AND state = 'pending' ORDER BY id"
        )
        return rows.fetchall()


@contextmanager
def open_shop(home: Path) -> Iterator[Shop]:
    """A farm's state folder, new or of a shop before, whose lander runs."""
    for folder in ("spool", "scratch", "beat"):
        (home / folder).mkdir(exist_ok=True)
    ledger, flights = Ledger.open(home / "ledger.db"), Flights(home)
    settings = departed(SOURCE)
    settler = Settler(ledger, lambda _name: settings, lambda: 0.5)
    lander = Lander(home / "store.db", wake=lambda: None)
    lander.start()
    settling = Settling(
        ledger,
        lander,
        settler,
        {SOURCE: Source(settings)},
        flights,
        drain=False,
        charge=lambda _flight, _finished: None,
    )
    try:
        yield Shop(home, ledger, flights, settler, settling)
    finally:
        lander.close()
        ledger.close()


LOOK = NewJob(Stage.DISCOVER, payload='{"paths": null, "type": "incremental"}')


def unit(key: str, version: str = "1") -> NewJob:
    return NewJob(Stage.EXTRACT, key, version, '{"data":{},"uri":"","held":""}')
