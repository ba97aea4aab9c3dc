"""What a dead farm had landed counts as landed, whatever became of its spool."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from farm import sqlite
from farm.connector import Document, Item, Listing, Unit
from farm.core.job import Stage
from farm.ledger.jobs import NewJob
from farm.recovery import Salvaged, recover
from farm.spool import path_of
from farm.store.notes import landed_before
from tests.support.shop import LOOK, Shop, open_shop, unit


def _landed_and_not_settled(home: Path, job: NewJob, *items: Item) -> Path:
    """A farm died between the two; its spool."""
    with open_shop(home) as shop:
        (launch,) = shop.begin(job)
        shop.end(launch, *items)
        shop.land(1)
        return path_of(home, launch.id)


def _recover(shop: Shop) -> list[Salvaged]:
    with closing(sqlite.open_reader(shop.home / "store.db")) as reader:
        return recover(shop.ledger, shop.settler, shop.home, lambda fences: landed_before(reader, fences))


@pytest.mark.parametrize("left", ["nothing", "a torn line"])
def test_an_extract_that_landed_is_settled_without_its_spool_and_counts_once(
    tmp_path: Path, left: str
) -> None:
    """As after a power cut: the store is durable, the spool need not be."""
    spool = _landed_and_not_settled(tmp_path, unit("a"), Document("a", text="some words"))
    if left == "nothing":
        spool.unlink()
    else:
        spool.write_bytes(spool.read_bytes()[:20])
    with open_shop(tmp_path) as shop:
        (item,) = _recover(shop)
        shop.adopt(item)
        shop.settle_all()
        facts = "SELECT state, outcome, losses, (SELECT count(*) FROM attempt) FROM job"
        assert shop.ledger.connection.execute(facts).fetchall() == [("succeeded", "succeeded", 0, 1)]
        counts = "SELECT documents_new, documents_unchanged FROM run"
        assert shop.ledger.connection.execute(counts).fetchall() == [(1, 0)]


def test_a_listing_that_landed_is_made_again_as_only_its_spool_knew_its_units(tmp_path: Path) -> None:
    _landed_and_not_settled(tmp_path, LOOK, Unit("a", "1"), Listing(complete=True)).unlink()
    with open_shop(tmp_path) as shop:
        assert _recover(shop) == []
        facts = "SELECT stage, state, outcome, losses FROM job"
        assert shop.ledger.connection.execute(facts).fetchall() == [
            (Stage.DISCOVER.value, "pending", "lost", 1)
        ]
