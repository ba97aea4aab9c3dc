"""A connector that names what is new once: whoever loses a listing after its cursor moved loses the units."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from farm.connector import Connector, Document, Item, Listing, Options, State, Unit


class FeedOptions(Options):
    units: int


class Feed(Connector[FeedOptions]):
    name = "feed"
    Options = FeedOptions

    def discover(self, ctx: Any, cursor: Any) -> Iterator[Item]:
        for n in range(cursor or 0, ctx.options.units):
            yield Unit(f"unit{n}", "1")
        yield State(ctx.options.units)
        yield Listing(complete=False)

    def extract(self, ctx: Any, unit: Unit) -> Iterator[Item]:
        yield Document(key=unit.key, text=f"the text of {unit.key}")
