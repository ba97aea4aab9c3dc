"""The connector that works as its unit's data say. Runs in the farm's workers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
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
        return self._work(ctx, unit) if unit.data else iter(())

    def _work(self, ctx: Any, unit: Unit) -> Iterator[Item]:
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
                _hang(unit)
            case "once":
                _fail_once(ctx, unit)
        _compute(data.get("wall_s", 0.0) * data.get("cpu", 0.0))
        time.sleep(max(0.0, end - time.monotonic()))
        if size := data.get("document_bytes", 0):
            yield Document(key=unit.key, text=(WORDS * (size // len(WORDS) + 1))[:size], title=unit.key)


def _hang(unit: Unit) -> None:
    """For ever, with processes that no signal to the group reaches. All of them hold the line to the witness:
    it is closed when the last one is gone."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(unit.data["witness"])
        line.sendall(unit.key.encode() + b"\n")
        for _ in range(unit.data.get("children", 0)):
            subprocess.Popen(["sleep", "1000000"], pass_fds=[line.fileno()], start_new_session=True)
        time.sleep(1e6)


def _fail_once(ctx: Any, unit: Unit) -> None:
    mark = ctx.cache / unit.key
    if not mark.exists():
        mark.touch()
        raise Transient("it was meant to fail the first time")


def _compute(cpu_s: float) -> None:
    end = time.process_time() + cpu_s
    while time.process_time() < end:
        sum(range(1000))
