"""What lands between a listing's comparison with the store and the submission of its units is not read again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from farm import sqlite
from farm.connector import Document, Item, Listing, Unit
from farm.core.job import Ending, Finished, JobSpec, Launch, Limits, Outcome, RunType, Stage
from farm.core.profile import MIB
from farm.dispatch.flights import Flights
from farm.dispatch.settling import Settling
from farm.lander import Lander
from farm.ledger.ledger import Ledger, NewJob
from farm.lines import encode
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
    settling: Settling
    run_id: int = 0

    def begin(self, *jobs: NewJob) -> list[Launch]:
        """Submit these and lease each of them a launch of its own."""
        launches: list[Launch] = []
        with self.ledger.transaction():
            self.run_id = self.run_id or self.ledger.create_run(SOURCE, RunType.INCREMENTAL, "manual") or 0
            for job in jobs:
                id_ = self.ledger.next_job_id()
                self.ledger.submit(self.run_id, SOURCE, [job], 1)
                (spec,) = self.ledger.lease([id_], cpu=1.0, memory_bytes=MIB)
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

    def landings(self) -> int:
        with closing(sqlite.open_reader(self.home / "store.db")) as db:
            return int(db.execute("SELECT count(*) FROM landing").fetchone()[0])

    def waiting(self) -> list[tuple[str, str]]:
        """Key and version of the units that are still to be read."""
        rows = self.ledger.connection.execute(
            "SELECT key, version FROM job WHERE stage = 'extract' AND state = 'pending' ORDER BY id"
        )
        return rows.fetchall()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with _shop(tmp_path) as made:
        yield made


@contextmanager
def _shop(home: Path) -> Iterator[Shop]:
    (home / "spool").mkdir()
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
        home=home,
        drain=False,
        charge=lambda _flight, _finished: None,
    )
    try:
        yield Shop(home, ledger, flights, settling)
    finally:
        lander.close()
        ledger.close()


LOOK = NewJob(Stage.DISCOVER, payload='{"paths": null, "type": "incremental"}')


def unit(key: str, version: str = "1") -> NewJob:
    return NewJob(Stage.EXTRACT, key, version, '{"data":{},"uri":"","held":""}')


@pytest.mark.parametrize("told", ["at once", "apart"])
def test_a_unit_that_lands_after_the_comparison_is_not_read_again(shop: Shop, told: str) -> None:
    look, first = shop.begin(LOOK, unit("a"))
    shop.end(look, Unit("a", "1"), Unit("b", "1"), Listing(complete=True))
    if told == "apart":
        shop.land(1)
    shop.end(first, Document("a", text="some words"))
    shop.land(2)
    shop.tick()
    assert shop.waiting() == [("b", "1")]


def test_another_version_of_it_is(shop: Shop) -> None:
    look, first = shop.begin(LOOK, unit("a", "1"))
    shop.end(look, Unit("a", "2"), Listing(complete=True))
    shop.end(first, Document("a", text="some words"))
    shop.land(2)
    shop.tick()
    assert shop.waiting() == [("a", "2")]


def test_one_whose_landing_had_been_overtaken_is(shop: Shop) -> None:
    """The store holds the second version, and the listing says that the first one is back."""
    first, second = shop.begin(unit("a", "1"), unit("a", "2"))
    shop.end(second, Document("a", text="other words"))
    shop.land(1)
    (look,) = shop.begin(LOOK)
    shop.end(look, Unit("a", "1"), Listing(complete=True))
    shop.end(first, Document("a", text="some words"))
    shop.land(3)
    shop.tick()
    assert shop.waiting() == [("a", "1")]


def test_the_same_key_of_another_source_says_nothing(shop: Shop) -> None:
    (look,) = shop.begin(LOOK)
    shop.end(look, Unit("a", "1"), Listing(complete=True))
    shop.land(1)
    shop.tick(unfold=False)
    shop.settling.listings.landed("another", JobSpec(7, 7, Stage.EXTRACT, "a", "1"))
    shop.tick()
    assert shop.waiting() == [("a", "1")]


def test_what_found_no_room_at_the_end_of_a_listing_is_settled_by_a_later_tick(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, first = shop.begin(LOOK, unit("a"))
    shop.end(look, Listing(complete=True))
    shop.end(first, Document("a", text="some words"))
    shop.land(2)
    settle = shop.settling.settler.succeeded

    def full(endings: Sequence[Ending]) -> None:
        settle(endings)
        if [ending.job_id for ending in endings] == [look.jobs[0].job_id]:
            raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(shop.settling.settler, "succeeded", full)
        with pytest.raises(sqlite3.OperationalError), shop.ledger.transaction():
            shop.settling.write(unfold=True)
    shop.settling.undone()
    shop.tick()
    assert {state for (state,) in shop.ledger.connection.execute("SELECT state FROM job")} == {"succeeded"}


def test_a_step_that_found_no_room_is_made_again_without_what_has_landed_since(shop: Shop) -> None:
    (look,) = shop.begin(LOOK)
    shop.end(look, Unit("a", "1"), Unit("b", "1"), Listing(complete=True))
    shop.land(1)
    with pytest.raises(sqlite3.OperationalError), shop.ledger.transaction():
        shop.settling.write(unfold=True)
        raise sqlite3.OperationalError("database or disk is full")
    shop.settling.undone()
    (first,) = shop.begin(unit("a"))
    shop.end(first, Document("a", text="some words"))
    shop.land(2)
    shop.tick()
    assert shop.waiting() == [("b", "1")]
