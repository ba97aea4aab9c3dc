"""The heartbeat page: a small file, mapped by the farm and by the worker of one cell.

The worker writes which job it is on; the farm reads it without any pipe traffic, also after the worker's
death. A torn read shows in two counters that differ, so a deadline is never taken from half a write.
Standard library only: the guard reads pages in a bare interpreter.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Sequence
from typing import NamedTuple

SIZE = 4096
NOWHERE = -1

_POSITION = struct.Struct("=QqqdddqqQ")  # its number first and last
_SIGN = struct.Struct("=dqq")  # last sign of life (monotonic), done, total (-1: unknown)
_NOW = struct.Struct("=d")
_OWNER = struct.Struct("=qq")  # pid, start
_PID = struct.Struct("=qq")

_SIGN_AT = 128
_MESSAGE_AT = 160
_MESSAGE_BYTES = 256
_OWNER_AT = 512
_STOP_AT = 528
_SKIP_AT = 1024
_SKIP_JOBS = 4096
_STRAYS_AT = 2048
_STRAYS_MOST = 120


class Position(NamedTuple):
    """Where the worker is. `nth` counts the launch's jobs from 0; NOWHERE before the first."""

    seq: int
    launch_id: int
    nth: int
    started: float
    """CLOCK_MONOTONIC, seconds."""
    started_at: float
    cpu_s: float
    """The worker's CPU seconds when the job started."""
    ends: int
    """Jobs that have their END line in the spool."""
    last_end: int
    """Offset of the newest END line; NOWHERE when there is none."""

    @property
    def born(self) -> bool:
        """Did the worker ever write? One that did not, died before it could work."""
        return self.seq > 0


class Sign(NamedTuple):
    at: float
    done: int
    total: int | None
    message: str


class Beat:
    """One page. The farm creates it and writes owner, stop, skip and strays; the worker the rest."""

    def __init__(self, path: str, *, create: bool = False) -> None:
        self.path = path
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_TRUNC if create else 0)
        fd = os.open(path, flags, 0o600)
        try:
            if create:
                os.posix_fallocate(fd, 0, SIZE)  # a page without room behind it kills who touches it (SIGBUS)
            self._page = mmap.mmap(fd, SIZE)
        finally:
            os.close(fd)
        self._seq = 0

    def close(self) -> None:
        self._page.close()

    # The worker's side

    def at(
        self,
        launch_id: int,
        index: int,
        started: float,
        started_at: float,
        cpu_s: float,
        ends: int,
        last: int,
    ) -> None:
        """The position, in one copy."""
        self._seq = seq = self._seq + 1
        self._page[: _POSITION.size] = _POSITION.pack(
            seq, launch_id, index, started, started_at, cpu_s, ends, last, seq
        )

    def sign(self, done: int = 0, total: int | None = None, message: str | None = None) -> None:
        """Proof of life, now."""
        _SIGN.pack_into(self._page, _SIGN_AT, time.monotonic(), done, -1 if total is None else total)
        if message is not None:
            text = message.encode("utf-8", "replace")[: _MESSAGE_BYTES - 1]
            self._page[_MESSAGE_AT : _MESSAGE_AT + _MESSAGE_BYTES] = text.ljust(_MESSAGE_BYTES, b"\0")

    def alive(self, now: float) -> None:
        """Proof of life, without news."""
        _NOW.pack_into(self._page, _SIGN_AT, now)

    @property
    def stop(self) -> bool:
        return self._page[_STOP_AT] != 0

    def skipped(self, index: int) -> bool:
        return index < _SKIP_JOBS and bool(self._page[_SKIP_AT + (index >> 3)] & (1 << (index & 7)))

    # The farm's side

    def own(self, pid: int, start: int) -> None:
        _OWNER.pack_into(self._page, _OWNER_AT, pid, start)

    def owner(self) -> tuple[int, int]:
        """(pid, start) of the worker; zeros before it has one."""
        pid, start = _OWNER.unpack_from(self._page, _OWNER_AT)
        return pid, start

    def renew(self) -> None:
        """Forget stop and skips: a new launch is coming."""
        self._page[_STOP_AT] = 0
        self._page[_SKIP_AT : _SKIP_AT + _SKIP_JOBS // 8] = bytes(_SKIP_JOBS // 8)
        self._page[_SIGN_AT : _MESSAGE_AT + _MESSAGE_BYTES] = bytes(_MESSAGE_AT + _MESSAGE_BYTES - _SIGN_AT)

    def ask_stop(self) -> None:
        self._page[_STOP_AT] = 1

    def skip(self, index: int) -> bool:
        """Ask that this job is not begun; False when the page has no room to say so."""
        if index >= _SKIP_JOBS:
            return False
        self._page[_SKIP_AT + (index >> 3)] |= 1 << (index & 7)
        return True

    def position(self) -> Position:
        """Retries torn reads; of a worker that died while writing, takes what is there."""
        for _ in range(50):
            *values, after = _POSITION.unpack(self._page[: _POSITION.size])
            position = Position._make(values)
            if position.seq == after:
                return position
            time.sleep(0.0001)
        return position

    def last_sign(self) -> Sign:
        at, done, total = _SIGN.unpack_from(self._page, _SIGN_AT)
        raw = self._page[_MESSAGE_AT : _MESSAGE_AT + _MESSAGE_BYTES]
        return Sign(at, done, None if total < 0 else total, raw.rstrip(b"\0").decode("utf-8", "replace"))

    def note_tree(self, tree: Sequence[tuple[int, int]]) -> None:
        """(pid, start) of the worker's descendants: how the guard knows those that hide their descent."""
        tree = tree[:_STRAYS_MOST]
        struct.pack_into("=q", self._page, _STRAYS_AT, len(tree))
        for i, (pid, start) in enumerate(tree):
            _PID.pack_into(self._page, _STRAYS_AT + 8 + i * _PID.size, pid, start)

    def tree(self) -> list[tuple[int, int]]:
        (n,) = struct.unpack_from("=q", self._page, _STRAYS_AT)
        n = min(max(n, 0), _STRAYS_MOST)
        return [_PID.unpack_from(self._page, _STRAYS_AT + 8 + i * _PID.size) for i in range(n)]
