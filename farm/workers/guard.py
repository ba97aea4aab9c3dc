"""The guard: outlives the farm by the moment it takes to end every process the farm left.

It sleeps on a pipe that only the farm holds. End of file without a goodbye means that the farm is dead,
however it died; then the guard kills workers (also those that hold the GIL or are stopped) and all below
them. It holds the fork server's alive pipe too: the fork server, whose end takes the workers with it, stays
until the trees below them have been seen. A bare interpreter runs it; standard library only.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from farm.workers import reaper

GOODBYE = b"x"
PATIENCE_S = 4.0


class Guard:
    """The farm's end of it."""

    def __init__(self, home: Path, alive_fd: int | None) -> None:
        reader, self._writer = os.pipe()  # not inheritable: nobody else may hold the writing end
        held = [reader] if alive_fd is None else [reader, alive_fd]
        code = (
            "import sys; sys.path.insert(0, sys.argv.pop(1)); "
            "from farm.workers.guard import main; main(int(sys.argv[1]), sys.argv[2])"
        )
        root = str(Path(__file__).resolve().parents[2])
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", code, root, str(reader), str(home)],
                pass_fds=held,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
            )
        except BaseException:
            os.close(self._writer)
            raise
        finally:
            os.close(reader)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def dismiss(self) -> None:
        """The farm ends in order: nothing is left to do."""
        try:
            os.write(self._writer, GOODBYE)
        except BrokenPipeError:
            pass
        finally:
            os.close(self._writer)
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main(reader: int, home: str) -> None:
    """The guard's own life."""
    os.setsid()  # here, not by the farm: to the farm a child in another session is an orphan until it is known
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if os.read(reader, 1) == GOODBYE:
        return
    reaper.sweep(home, PATIENCE_S)
