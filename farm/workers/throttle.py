"""How often a source may be asked: one bucket per source, shared by all cells, kept in a file under a lock.

The bucket is a single number (the generic cell rate algorithm): the time at which the next request would be
due if all were evenly spaced. A request may come earlier than that by as much as the burst allows. Who takes a
turn moves the number on and then waits outside the lock, so turns are given in order and none is given twice.
The number is of the boot's monotonic clock; one that lies too far ahead is from before a restart, and void.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

FOLDER = "limits"
STEP_S = 0.2
"""How long a waiting request sleeps before it shows that it lives, and looks whether it is to stop."""
_LONGEST_S = 3600.0
_NUMBER = struct.Struct("d")


class Throttle:
    """The turns of one source. `per_s` 0: as many as it likes."""

    def __init__(
        self,
        path: Path,
        per_s: float,
        burst: int = 1,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._path = path
        self._interval_s = 1 / per_s if per_s > 0 else 0.0
        self._slack_s = self._interval_s * (max(burst, 1) - 1)
        self._clock = clock
        self._sleep = sleep

    @classmethod
    def of(cls, home: Path, source: str, per_s: float, burst: int) -> Throttle:
        return cls(home / FOLDER / quote(source, safe=""), per_s, burst)

    def wait(self, alive: Callable[[], None], stop: Callable[[], bool]) -> bool:
        """Until it is this request's turn; False when it is asked to stop first."""
        if not self._interval_s:
            return not stop()
        due = self._take()
        while (left_s := due - self._clock()) > 0:
            if stop():
                return False
            alive()
            self._sleep(min(left_s, STEP_S))
        return True

    def _take(self) -> float:
        """When this request may be made."""
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(
                fd, fcntl.LOCK_EX
            )  # held for a few microseconds, and let go by the kernel with its owner
            raw = os.pread(fd, _NUMBER.size, 0)
            now = self._clock()
            ideal = _NUMBER.unpack(raw)[0] if len(raw) == _NUMBER.size else now
            if not now <= ideal <= now + _LONGEST_S:
                ideal = now
            os.pwrite(fd, _NUMBER.pack(ideal + self._interval_s), 0)
            return max(now, ideal - self._slack_s)
        finally:
            os.close(fd)
