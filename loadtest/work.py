"""The connector that works as its unit's data say. Runs in the farm's workers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

from farm.connector import Connector, Document, InvalidInput, Item, Listing, Options, Transient, Unit

WORDS = "the farm reads what it is given and loses none of it "


class Work(Connector[Options]):
    name = "work"

    def discover(self, ctx: Any, cursor: Any) -> Iterator[Item]:
        yield Listing()

    def extract(self, ctx: Any, unit: Unit) -> Iterator[Item]:
        return self._work(unit) if unit.data else iter(())

    def _work(self, unit: Unit) -> Iterator[Item]:
        data = unit.data
        end = time.monotonic() + data.get("wall_s", 0.0)
        held = bytearray(data.get("memory_bytes", 0))
        held[::4096] = b"\1" * len(held[::4096])  # touched, or it is not there
        match data.get("fault"):
            case "fail":
                raise Transient("it was meant to fail")
            case "invalid":
                raise InvalidInput("it was meant to be unreadable")
            case "crash":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hang":
                time.sleep(1e6)
        _compute(data.get("wall_s", 0.0) * data.get("cpu", 0.0))
        time.sleep(max(0.0, end - time.monotonic()))
        if size := data.get("document_bytes", 0):
            yield Document(key=unit.key, text=(WORDS * (size // len(WORDS) + 1))[:size], title=unit.key)


def _compute(cpu_s: float) -> None:
    end = time.process_time() + cpu_s
    while time.process_time() < end:
        sum(range(1000))
