"""Connectors for backups and trials."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from typing import Any

from farm.connector import Connector, Document, Item, Listing, Log, Options, Permanent, Record, State, Unit


class FeedOptions(Options):
    units: int


class Feed(Connector[FeedOptions]):
    """Names what is new once: whoever loses a listing after its cursor moved loses the units."""

    name = "feed"
    Options = FeedOptions

    def discover(self, ctx: Any, cursor: Any) -> Iterator[Item]:
        for n in range(cursor or 0, ctx.options.units):
            yield Unit(f"unit{n}", "1")
        yield State(ctx.options.units)
        yield Listing(complete=False)

    def extract(self, ctx: Any, unit: Unit) -> Iterator[Item]:
        yield Document(key=unit.key, text=f"the text of {unit.key}")


class Checked(Feed):
    """Its check hangs, dies, raises or answers, as `way` says."""

    name = "checked"

    class Options(FeedOptions):
        units: int = 1
        way: str = ""

    def check(self, ctx: Any) -> str | None:
        match ctx.options.way:
            case "hangs":
                time.sleep(3600)
            case "dies":
                os.abort()
            case "raises":
                raise Permanent(f"the password {ctx.secret('password')} is wrong")
            case "answers":
                return f"{ctx.source} is closed on Sundays"
        return None


class Stream(Feed):
    """Yields content at once, and never ends."""

    name = "stream"

    def discover(self, ctx: Any, cursor: Any) -> Iterator[Item]:
        for n in itertools.count():
            if n % 3 == 2:
                yield Log(level="rejected", message=f"line {n}: not JSON")
            else:
                yield Record("prices", {"day": n, "price": 4.5}, key=str(n))
            time.sleep(0.01)
