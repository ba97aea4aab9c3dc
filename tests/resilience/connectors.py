"""Connectors that tell the oracle what they do, and fail as their unit's key says.

A key is `<kind>-<anything>`; what a kind does, it does at its first try only, but for `bad` and `perm`:

    ok    reads                         retry  fails transiently         bad   can never be read
    perm  fails for good                hang   shows no sign of life     stop  stops its own process
    kill, segv, abort, exit0            end so while they read
    torn  killed in the middle of its content's bytes       tornend  in the middle of its END line
    ended killed between its END line and the news of it    reply    in the middle of the worker's answer
    oom   takes memory until it is refused                  swell    takes memory that no rlimit sees
    child starts a program in a session of its own, and takes its time      orphan   starts it, and is killed
"""

from __future__ import annotations

import ctypes
import mmap
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from multiprocessing import connection
from pathlib import Path
from typing import Any

from farm.connector import (
    Connector,
    Document,
    Element,
    InvalidInput,
    Item,
    Listing,
    Options,
    Permanent,
    Record,
    State,
    Transient,
    Unit,
)
from tests.resilience.oracle import Log, text_of

DEATHS_WHILE_WRITING = ("torn", "tornend", "ended", "reply")
DEATHS = ("kill", "orphan", "segv", "abort", "exit0", "stop", "oom", "swell", *DEATHS_WHILE_WRITING)


class ToldOptions(Options):
    effects: str
    """The oracle's log."""
    tries: str
    """A folder that remembers which units were tried before."""
    sleep_s: float = 0.0
    step: int = 5
    """How much of the tape is read at once."""
    last: int = 0
    """The tape's end; 0: it has none."""
    units: tuple[str, ...] = ()
    """What discover lists, each after `sleep_s`; then that this was all."""


class Told(Connector[ToldOptions]):
    """Units are submitted, or listed in the options."""

    name = "told"
    Options = ToldOptions

    def discover(self, ctx: Any, cursor: Any) -> Iterator[Item]:
        for key in ctx.options.units:
            time.sleep(ctx.options.sleep_s)
            yield Unit(key, "1")
        yield Listing(complete=bool(ctx.options.units))

    def extract(self, ctx: Any, unit: Unit) -> Iterator[Item]:
        told = _Told(ctx, unit.key)
        told.add("begin")
        kind = unit.key.partition("-")[0]
        if kind == "bad":
            raise InvalidInput("it can never be read")
        if kind == "perm":
            raise Permanent("it is not for us")
        text = text_of(unit.key, "1")
        if kind not in ("ok", "retry") and _first(ctx, unit.key):
            _die(kind, told)
        elif kind == "retry" and _first(ctx, unit.key):
            raise Transient("not this time")
        if ctx.options.sleep_s:
            time.sleep(ctx.options.sleep_s)
        half = len(text) // 2
        parts = [Element("NarrativeText", text[:half]), Element("NarrativeText", text[half:])]
        told.add("end")
        yield Document(key=unit.key, title=unit.key, text=text, elements=parts)


class Tape(Connector[ToldOptions]):
    """Gives each number once: what the cursor has passed over never comes again."""

    name = "tape"
    Options = ToldOptions

    def discover(self, ctx: Any, cursor: Any) -> Iterator[Item]:
        at = int((cursor or {"tape": 0})["tape"])
        told = _Told(ctx, f"from {at}")
        told.add("begin")
        for n in range(at + 1, at + ctx.options.step + 1):
            yield Record(stream="tape", key=str(n), record={"n": n})
            if ctx.options.sleep_s:
                time.sleep(ctx.options.sleep_s)
        told.add("end")
        yield State({"tape": at + ctx.options.step})
        yield Listing(complete=False)


class _Told:
    """What an attempt says of itself; its scratch folder is named by its fence and its cell."""

    def __init__(self, ctx: Any, key: str) -> None:
        self._log = Log(Path(ctx.options.effects))
        cell = ctx.scratch.parent.name
        self._facts = {
            "source": ctx.source,
            "key": key,
            "attempt": ctx.scratch.name,
            "cell": cell,
            "pid": os.getpid(),
        }

    def add(self, did: str, **more: Any) -> None:
        self._log.add(did=did, at=time.monotonic(), **self._facts, **more)

    def __del__(self) -> None:
        self._log.close()


def _first(ctx: Any, key: str) -> bool:
    """Whether this unit was never tried before; it has been, from now on."""
    try:
        os.close(os.open(Path(ctx.options.tries, key), os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return False
    return True


def _die(kind: str, told: _Told) -> None:
    """End this process in one of many ways; of those at writing, soon."""
    if kind in DEATHS_WHILE_WRITING:
        _die_writing(kind, told)
        return
    if kind != "child":
        told.add("dies", how=kind)
    match kind:
        case "orphan":
            subprocess.Popen(["sleep", "100"], start_new_session=True)
            os.kill(os.getpid(), signal.SIGKILL)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "segv":
            ctypes.string_at(0)
        case "abort":
            os.abort()
        case "exit0":
            os._exit(0)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "hang":
            time.sleep(3600)
        case "child":
            subprocess.Popen(["sleep", "100"], start_new_session=True)
            time.sleep(0.3)
        case "oom":
            held = [bytearray(1 << 40)]
            del held
        case "swell":
            pages = []
            while True:
                pages.append(mmap.mmap(-1, 8 << 20))
                for at in range(0, 8 << 20, 4096):
                    pages[-1][at] = 1


def _die_writing(kind: str, told: _Told) -> None:
    """Arrange for the end: while this very job's bytes go to the spool, or its launch's answer to the pipe."""
    from farm.workers import spool

    def dies() -> None:
        told.add("dies", how=kind)
        os.kill(os.getpid(), signal.SIGKILL)

    if kind == "reply":

        def send(self: Any, data: Any, write: Any = os.write) -> None:
            os.write(self._handle, bytes(data)[: len(data) // 2])
            dies()

        connection.Connection._send = send  # type: ignore[attr-defined]
        return
    real = spool.Writer.flush

    def flush(self: Any) -> None:
        data = bytes(self._chunk)
        content = data.find(b'{"type":"END"')
        if kind == "ended":
            real(self)
        elif kind == "torn":
            os.write(self._fd, data[: max(1, content // 2)])
        else:
            os.write(self._fd, data[: (content + len(data)) // 2])
        dies()

    spool.Writer.flush = flush  # type: ignore[method-assign]


class Past(Connector[Options]):
    """A page of text for every unit that is not bare, and nothing told: what a farm has been reading for years."""

    name = "past"
    Options = Options

    def discover(self, ctx: Any, cursor: Any) -> Iterator[Item]:
        yield Listing(complete=True)

    def extract(self, ctx: Any, unit: Unit) -> Iterator[Item]:
        if unit.key.startswith("bare"):
            return
        chance = random.Random(unit.key)
        words = [f"word{int(chance.expovariate(0.01))}" for _ in range(300)]
        yield Document(key=unit.key, text=" ".join(words))
