"""The guard: outlives the farm by the moment it takes to end every process the farm left.

It sleeps on a pipe that only the farm holds. End of file without a goodbye means that the farm is dead,
however it died; then the guard kills workers (also those that hold the GIL or are stopped) and all below
them. It holds the fork server's alive pipe too: the fork server, whose end takes the workers with it, stays
until the trees below them have been seen. A bare interpreter runs it; standard library only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from farm.workers import reaper

GOODBYE = b"x"
PATIENCE_S = 4.0


class Guard:
    """The farm's end of it."""

    def __init__(self, home: Path, alive_fd: int | None) -> None:
        reader, self._writer = os.pipe()  # not inheritable: nobody else may hold the writing end
        held = [reader] if alive_fd is None else [reader, alive_fd]
        # Home and code come by other ways than the command line, which anybody on the machine can read.
        code = f"from farm.workers.guard import main; main({reader})"
        root = str(Path(__file__).resolve().parents[2])
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-S", "-c", code],
                env={**os.environ, "PYTHONPATH": root},
                pass_fds=held,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
            )
            os.write(self._writer, os.fsencode(home) + b"\0")
        except BaseException:
            os.close(self._writer)
            raise
        finally:
            os.close(reader)

    @property
    def pid(self) -> int:
        return self._process.pid

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


def main(reader: int) -> None:
    """The guard's own life."""
    os.setsid()  # here, not by the farm: to the farm a child in another session is an orphan until it is known
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    heard = b""
    while chunk := os.read(reader, 4096):
        heard += chunk
    home, _, last_word = heard.partition(b"\0")
    deadline = time.monotonic() + PATIENCE_S
    while home and last_word != GOODBYE and time.monotonic() < deadline:
        with contextlib.suppress(Exception):  # nobody would hear of it, and there is work to do
            reaper.sweep(os.fsdecode(home), PATIENCE_S)
            return
