"""A connector that asks another one whether its source can be read: so that its `check` runs in a cell, too,
where it may hang, crash or leak without harm to whoever asks."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from farm import registry
from farm.connector import Connector, Item, Listing, Options, Record

NAME = f"{__name__}:Probe"


class ProbeOptions(Options):
    connector: str
    options: str
    """The connector's own, as JSON."""


class Probe(Connector[ProbeOptions]):
    """Yields one record: {"wrong": sentence or None}."""

    name = "probe"
    Options = ProbeOptions

    def discover(self, ctx: Any, cursor: Any) -> Iterator[Item]:
        connector = registry.load(ctx.options.connector)
        context = copy.copy(ctx)
        context.options = connector.Options.model_validate_json(ctx.options.options)
        wrong = connector().check(context)
        yield Record("check", {"wrong": wrong and ctx.redact(wrong)})
        yield Listing(complete=True)
