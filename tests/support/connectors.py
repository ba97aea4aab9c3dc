"""Connectors named for their misbehaviour. Loaded in workers as "tests.support.connectors:Name".

Each discovers the units that its options name, reads a unit into a small document, and misbehaves at every
unit whose key starts with "bad".
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.util import get_temp_dir
from typing import Any, ClassVar, NoReturn

from farm.connector import (
    Connector,
    Document,
    InvalidInput,
    Item,
    Listing,
    Options,
    Permanent,
    RateLimited,
    SourceUnavailable,
    Transient,
    Unit,
)


class MisbehavingOptions(Options):
    units: tuple[str, ...] = ("good", "bad")
    pids: str = ""
    """A file to which every process that is started adds its pid."""
    way: str = ""
    """Which kind of the misbehaviour, where there are several."""
    size: int = 0
    sleep_s: float = 0.0


class Misbehaving(Connector[MisbehavingOptions]):
    """The good part of them all."""

    name = "misbehaving"
    Options = MisbehavingOptions

    def discover(self, ctx: Any, cursor: Any) -> Iterator[Item]:
        for key in ctx.options.units:
            yield Unit(key, "1")
        yield Listing(complete=True)

    def extract(self, ctx: Any, unit: Unit) -> Iterator[Item]:
        if unit.key.startswith("bad"):
            yield from self.misbehave(ctx) or ()
        yield Document(key=unit.key, text=f"the text of {unit.key}", title=unit.key)

    def misbehave(self, ctx: Any) -> Iterator[Item] | None:
        raise NotImplementedError


class Noop(Misbehaving):
    """Does nothing, and does it well."""

    name = "noop"

    def extract(self, ctx: Any, unit: Unit) -> Iterator[Item]:
        return iter(())


class Page(Misbehaving):
    """A page of text for every unit, at hand already."""

    name = "page"
    text: ClassVar[str] = ("the farm reads what it is given " * 128)[:4096]

    def extract(self, ctx: Any, unit: Unit) -> Iterator[Item]:
        yield Document(key=unit.key, text=self.text, title=unit.key)


class Sleeps(Misbehaving):
    """Takes its time at every unit."""

    name = "sleeps"

    def extract(self, ctx: Any, unit: Unit) -> Iterator[Item]:
        time.sleep(ctx.options.sleep_s)
        yield Document(key=unit.key, text="slept")


class Polite(Misbehaving):
    """Takes long, and comes back when it is asked to stop."""

    name = "polite"

    def misbehave(self, ctx: Any) -> None:
        while not ctx.stop_requested:
            time.sleep(0.005)


class Litters(Misbehaving):
    """Leaves temporary files of every kind behind, while it reads and while it listens, and never ends."""

    name = "litters"

    def listens(self, options: MisbehavingOptions) -> bool:
        return True

    def listen(self, ctx: Any) -> Iterator[str | None]:
        yield None
        self.misbehave(ctx)

    def misbehave(self, ctx: Any) -> None:
        for folder in (str(ctx.scratch), tempfile.gettempdir(), get_temp_dir()):
            os.close(tempfile.mkstemp(dir=folder)[0])
        _idle(ctx)


class Hang(Misbehaving):
    """Never ends; `way` "lively" shows signs of life."""

    name = "hang"

    def misbehave(self, ctx: Any) -> None:
        _note(ctx)
        while True:
            time.sleep(0.02)
            if ctx.options.way == "lively":
                ctx.progress(message="still here")


class Deaf(Misbehaving):
    """Ignores SIGTERM; has a child, a grandchild in a session of its own, and an orphan by double fork."""

    name = "deaf"

    def misbehave(self, ctx: Any) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if os.fork() == 0:
            if os.fork() == 0:
                os.setsid()
            _idle(ctx)
        if os.fork() == 0:
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    _idle(ctx)
            os._exit(0)
        program = "import os,sys,time\nwhile True: time.sleep(1)"
        for environment in (None, {}):  # one of them hides where it comes from
            child = subprocess.Popen(
                [sys.executable, "-S", "-c", program], start_new_session=True, env=environment
            )
            _note(ctx, child.pid)
        _idle(ctx)


class Crash(Misbehaving):
    """Ends its process: by segfault, or `way` "exit0", "exit3", "kill", "abort", "refused"
    (memory, as a Rust library takes it), "closes" (all descriptors)."""

    name = "crash"

    def misbehave(self, ctx: Any) -> None:
        os.write(1, b"about to crash\n")
        match ctx.options.way:
            case "exit0":
                os._exit(0)
            case "exit3":
                os._exit(3)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "abort":
                os.abort()
            case "refused":
                os.write(2, b"memory allocation of 1048576 bytes failed\n")
                os.abort()
            case "closes":
                os.closerange(0, 1000)
            case _:
                ctypes.string_at(0)


class Exit0(Crash):
    """Leaves with code 0, as if all were well."""

    name = "exit0"

    def misbehave(self, ctx: Any) -> NoReturn:
        os._exit(0)


class Leak(Misbehaving):
    """Takes memory: all at once, or `way` "slowly", "child" (in a program of its own), "mapped" (not heap)."""

    name = "leak"

    def misbehave(self, ctx: Any) -> None:
        size = ctx.options.size or 1 << 40
        held: list[Any] = []
        match ctx.options.way:
            case "child":
                program = (
                    "import sys,time\nheld=[]\nwhile True:\n held.append(bytearray(4<<20)); time.sleep(0.005)"
                )
                child = subprocess.Popen([sys.executable, "-S", "-c", program])
                _note(ctx, child.pid)
                child.wait()
                raise Transient("the child is gone")
            case "mapped":
                import mmap

                while True:  # shared memory is no data segment: no rlimit sees it
                    held.append(mmap.mmap(-1, 4 << 20))
                    for page in range(0, 4 << 20, 4096):
                        held[-1][page] = 1
                    time.sleep(0.002)
            case _:
                while size > 0:
                    held.append(bytearray(4 << 20))
                    size -= 4 << 20
        del held


class Hoards(Misbehaving):
    """Keeps what it took, in its process, for the next job to suffer from."""

    name = "hoards"
    hoard: ClassVar[list[bytearray]] = []

    def misbehave(self, ctx: Any) -> None:
        self.hoard.append(bytearray(ctx.options.size))


class Flood(Misbehaving):
    """Writes without end: `way` "output" (for `sleep_s`, then it is done), "child" (likewise), or items."""

    name = "flood"

    def misbehave(self, ctx: Any) -> Iterator[Item] | None:
        end = time.monotonic() + ctx.options.sleep_s
        match ctx.options.way:
            case "output":
                while time.monotonic() < end:
                    os.write(1, b"all work and no play\n" * 3000)
                os.write(1, b"the last line\n")
                raise Transient("no more output")
            case "child":
                subprocess.run(["sh", "-c", f"timeout {ctx.options.sleep_s} yes"], check=False)
                raise Transient("no more output")
        return self._items()

    def _items(self) -> Iterator[Item]:
        text = "all work and no play " * 5000
        i = 0
        while True:
            i += 1
            yield Document(key=f"flood{i}", text=text)


class Unspeakable(Exception):
    """Cannot be pickled, cannot be unpickled, cannot even be printed."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__("unspeakable")
        self.trap = lambda: one + two

    def __str__(self) -> str:
        raise RuntimeError("no")

    def __reduce__(self) -> Any:
        return (_explode, ())


class Liar(Misbehaving):
    """Hands back what nobody can take: `way` "exception", "object", "surrogates", or 1 GB."""

    name = "liar"

    def misbehave(self, ctx: Any) -> Iterator[Any]:
        match ctx.options.way:
            case "exception":
                raise Unspeakable(1, 2)
            case "object":
                yield {"no": "item"}
            case "surrogates":
                yield Document(key="odd\udce9", text="caf\udce9 \x00")
            case _:
                yield Document(key="huge", text="x" * (ctx.options.size or 10**9))


class Raises(Misbehaving):
    """Reports its failures in order; `way` names the class."""

    name = "raises"

    def misbehave(self, ctx: Any) -> None:
        match ctx.options.way:
            case "permanent":
                raise Permanent("it will never work")
            case "invalid":
                raise InvalidInput("the file is encrypted")
            case "rate":
                raise RateLimited("too many requests", retry_after_s=12.5)
            case "permission":
                raise PermissionError(13, "Permission denied", "/somewhere")
            case "import":
                raise ImportError("no module named what")
            case "exit":
                sys.exit(3)
            case "secret":
                ctx.log.warning("using %s", ctx.secret("token"))
                raise Transient(f"refused: {ctx.secret('token')}")
            case "value":
                raise ValueError("what is this")
            case _:
                raise Transient("try again")


class Away(Misbehaving):
    """Its other side is out of reach while the file `pids` + ".down" is there; notes each question in `pids`.

    `way` "vague": fails without saying that it is the other side's fault. "rate": is asked for patience.
    """

    name = "away"

    def discover(self, ctx: Any, cursor: Any) -> Iterator[Item]:
        self.misbehave(ctx)
        yield from super().discover(ctx, cursor)

    def misbehave(self, ctx: Any) -> None:
        if not ctx.throttle():
            return
        with open(ctx.options.pids, "a") as file:
            file.write(f"{time.time()}\n")
        if os.path.exists(f"{ctx.options.pids}.down"):
            match ctx.options.way:
                case "vague":
                    raise Transient("it did not work")
                case "rate":
                    raise RateLimited("too many requests", retry_after_s=ctx.options.sleep_s)
                case _:
                    raise SourceUnavailable("nobody answers at example.org")


class Tells(Misbehaving):
    """Says a secret by every way there is, and dies."""

    name = "tells"

    def misbehave(self, ctx: Any) -> None:
        token = ctx.secret("token")
        ctx.log.warning("said %s", token)
        ctx.progress(message=f"with {token}")
        os.write(1, f"printed {token}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)


class Gil(Misbehaving):
    """A loop in C that never lets go of the GIL."""

    name = "gil"

    def misbehave(self, ctx: Any) -> None:
        _note(ctx)
        ctypes.PyDLL(None).sleep(3600)


class Forks(Misbehaving):
    """A chain of 50 processes, each in a session of its own, whose end goes on forking and dying.

    After a minute it ends by itself: a test that fails must not leave it behind.
    """

    name = "forks"

    def misbehave(self, ctx: Any) -> None:
        end = time.monotonic() + 60
        for _ in range(50):
            if os.fork():
                _idle(ctx)
            os.setsid()
        while time.monotonic() < end:
            if os.fork():
                os._exit(0)
            os.setsid()
            time.sleep(0.002)
        os._exit(0)


class Leaves(Misbehaving):
    """Ends well, and leaves a program running behind it."""

    name = "leaves"

    def misbehave(self, ctx: Any) -> None:
        child = subprocess.Popen(["sleep", "3600"], start_new_session=True)
        _note(ctx, child.pid)


class Returns(Misbehaving):
    """Forks, and lets the child return as if it were the worker."""

    name = "returns"

    def misbehave(self, ctx: Any) -> None:
        os.fork()


class Stop(Misbehaving):
    """Stops itself."""

    name = "stop"

    def misbehave(self, ctx: Any) -> None:
        _note(ctx)
        os.kill(os.getpid(), signal.SIGSTOP)


def _explode() -> None:
    raise RuntimeError("unpickled")


def _note(ctx: Any, pid: int = 0) -> None:
    if ctx.options.pids:
        with open(ctx.options.pids, "a") as file:
            file.write(f"{pid or os.getpid()}\n")


def _idle(ctx: Any) -> NoReturn:
    _note(ctx)
    while True:
        time.sleep(1)
