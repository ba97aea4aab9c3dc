"""Connectors named for their misbehaviour. Loaded in workers as "tests.support.connectors:Name"."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from farm.connector import (
    Connector,
    Item,
    Listing,
    Options,
    Unit,
)

HERE = "tests.support.connectors"


class NoopOptions(Options):
    units: int = 3


class Noop(Connector[NoopOptions]):
    """Does nothing, and does it well."""

    name = "noop"
    Options = NoopOptions

    def discover(self, ctx: Any, cursor: Any) -> Iterator[Item]:
        for i in range(ctx.options.units):
            yield Unit(f"u{i}", "1")
        yield Listing(complete=True)

    def extract(self, ctx: Any, unit: Unit) -> Iterator[Item]:
        return iter(())
