"""Room kept for hard times: a file of nothing that is given up when the disk is full.

What it leaves lets the farm finish its commits. Then nothing new is taken or started until there is room
again; then the reserve is laid in anew and the farm goes on. Whatever was acknowledged is in the ledger
already, and what a worker had found is in its spool: so nothing waits in memory that a kill could take.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

NAME = "reserve"
RESERVE_BYTES = 16 * 1024 * 1024
"""About what the ledger's and the store's logs grow by before they are written back."""
SHARE = 8
"""On a small disk the reserve is no more than this part of what is free."""


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


class Reserve:
    """The file home/reserve, and whether the disk has become too full to go on as usual."""

    def __init__(self, home: Path, free: Callable[[Path], int] = free_bytes) -> None:
        self.path = home / NAME
        self._home = home
        self._free = free
        self.bytes = min(RESERVE_BYTES, (free(home) + self.held) // SHARE)

    @property
    def held(self) -> int:
        """How much it holds now."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def short(self) -> bool:
        """Less is free beside the reserve than half of it: the next commits may fail."""
        return self._free(self._home) < self.bytes // 2

    def ample(self) -> bool:
        """There is room to lay the reserve in again, and as much to work in; more than `short` asks for."""
        return self._free(self._home) + self.held >= 2 * self.bytes

    def fill(self) -> bool:
        """Lay it in; False where there is no room for it, and then nothing is taken."""
        if self.held >= self.bytes:
            return True
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            os.posix_fallocate(fd, 0, max(self.bytes, 1))
            os.fsync(fd)
        except OSError:
            self.release()
            return False
        finally:
            os.close(fd)
        return True

    def release(self) -> None:
        """Give the room to whoever writes next."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
