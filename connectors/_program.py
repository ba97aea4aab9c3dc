"""Running one program and reading it: its standard output line by line, its standard error as the log.

Rules: both pipes are read by one loop, so neither can fill up and block the program; a line longer than the
limit is thrown away as it comes, never held; the program leads a process group of its own, and whatever of
the group is left when we are done with it, for whatever reason, is killed.
"""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import signal
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CHUNK = 1 << 18
TICK_S = 0.2
LINGER_S = 2.0
"""A child may have kept the pipe: this much silence after the program's own end is the end of output."""


@dataclass(frozen=True, slots=True)
class TooLong:
    """Stands for a line that was longer than the limit."""

    bytes: int


class Splitter:
    """Cuts a stream of bytes into lines, holding at most `limit` bytes.

    >>> s = Splitter(4)
    >>> list(s.feed(b"ab\\ncdefgh")), list(s.feed(b"i\\nj")), list(s.end())
    ([b'ab'], [TooLong(bytes=7)], [b'j'])
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[bytes | TooLong]:
        *whole, rest = chunk.split(b"\n")
        for piece in whole:
            self._add(piece)
            yield self._take()
        self._add(rest)

    def end(self) -> Iterator[bytes | TooLong]:
        if self._size:
            yield self._take()

    def _add(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size <= self._limit:
            self._parts.append(piece)
        else:
            self._parts.clear()

    def _take(self) -> bytes | TooLong:
        size, line = self._size, b"".join(self._parts)
        self._parts, self._size = [], 0
        return line if size <= self._limit else TooLong(size)


class Program:
    """A running program. Iterate `lines()` to its end, then look at `returncode`; always `close()`."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None,
        env: Mapping[str, str],
        stdin: bytes,
        on_error_line: Callable[[str], None],
        stop_requested: Callable[[], bool],
        alive: Callable[[], None],
        line_limit: int,
        grace_s: float,
    ) -> None:
        """Start it; raises OSError as subprocess.Popen does."""
        self._on_error_line, self._alive, self._stop_requested = on_error_line, alive, stop_requested
        self._grace_s = grace_s
        self._out, self._err = Splitter(line_limit), Splitter(1 << 16)
        self.last_errors: deque[str] = deque(maxlen=20)
        self.stopped = False
        """We ended it ourselves, because the farm asked to stop."""
        with (
            tempfile.TemporaryFile() as given
        ):  # a file, not a pipe: a program that does not read cannot block us
            given.write(stdin)
            given.seek(0)
            self._process = subprocess.Popen(
                list(argv),
                cwd=cwd,
                env=dict(env),
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,
            )
        with contextlib.suppress(OSError):
            # The limit on a worker's own data is for Python, which turns it into a MemoryError. Other runtimes
            # map far more than they use; what the program really uses, the farm measures and caps.
            hard = resource.prlimit(self._process.pid, resource.RLIMIT_DATA)[1]
            resource.prlimit(self._process.pid, resource.RLIMIT_DATA, (hard, hard))

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    def lines(self) -> Iterator[bytes | TooLong]:
        """Its lines until it is over; ends early, after a grace time, when a stop is requested."""
        assert self._process.stdout is not None and self._process.stderr is not None
        out, err = self._process.stdout.fileno(), self._process.stderr.fileno()
        kill_at: float | None = None
        heard_at = time.monotonic()
        with selectors.DefaultSelector() as selector:
            for fd in (out, err):
                os.set_blocking(fd, False)
                selector.register(fd, selectors.EVENT_READ)
            while selector.get_map():
                for key, _ in selector.select(TICK_S):
                    chunk = _read(key.fd)
                    if not chunk:
                        if chunk is not None:
                            selector.unregister(key.fd)
                        continue
                    self._alive()
                    if key.fd == out:
                        yield from self._out.feed(chunk)
                    else:
                        self._note(self._err.feed(chunk))
                    heard_at = time.monotonic()
                now = time.monotonic()
                if self._stop_requested() and kill_at is None:
                    self.stopped, kill_at = True, now + self._grace_s
                    self._signal(signal.SIGTERM)
                if kill_at and now > kill_at:
                    break
                if now > heard_at + LINGER_S and self._is_over():
                    break
        yield from self._out.end()
        self._note(self._err.end())
        while not self._is_over() and not (kill_at and time.monotonic() > kill_at):
            # It closed its output and goes on: wait, the stall clock of the job decides how long.
            if self._stop_requested() and kill_at is None:
                self.stopped, kill_at = True, time.monotonic() + self._grace_s
                self._signal(signal.SIGTERM)
            time.sleep(0.02)
        self.close()

    def close(self) -> None:
        """Kill what is left of its group and reap it. Safe to call again."""
        if self._process.returncode is None:
            self._signal(signal.SIGKILL)  # before reaping: until then nobody else can have its number
            self._process.wait()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _is_over(self) -> bool:
        """Has it ended? Does not reap it, so that its process group keeps its number."""
        if self._process.returncode is not None:
            return True
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _note(self, lines: Iterator[bytes | TooLong]) -> None:
        for line in lines:
            text = f"({line.bytes} bytes)" if isinstance(line, TooLong) else line.decode("utf-8", "replace")
            text = text.rstrip()[:4000]
            if text:
                self.last_errors.append(text)
                self._on_error_line(text)


def _read(fd: int) -> bytes | None:
    """What is there; empty at its end, None when there is nothing yet."""
    try:
        return os.read(fd, CHUNK)
    except BlockingIOError:
        return None
