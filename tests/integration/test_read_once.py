"""What lands between a listing's comparison with the store and the submission of its units is not read again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from farm.connector import Document, Listing, Unit
from farm.core.job import Ending, JobSpec, Stage
from tests.support.shop import LOOK, Shop, open_shop, unit


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with open_shop(tmp_path) as made:
        yield made


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
