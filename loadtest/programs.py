"""Programs that a peer consists of: started in a session of their own, and ended with all they started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from loadtest.farmhouse import until

ROOT = Path(__file__).resolve().parents[1]
STOP_S = 3.0
"""Their work is done by then, so nothing is lost when they take longer and are killed."""


class Program:
    """`arguments` of this Python; its output goes to a file in `folder`."""

    def __init__(
        self, folder: Path, arguments: Sequence[str], environment: Mapping[str, str], name: str = "workers"
    ) -> None:
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raises when it has ended."""
        if self._process.poll() is not None:
            said = self.log.read_text(errors="replace")[-1000:]
            raise RuntimeError(f"the workers ended with {self._process.returncode}: {said}")

    def stop(self, by: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to end; then end whatever is left of what it had started."""
        below: list[psutil.Process] = []
        if self._process.poll() is None:
            below = psutil.Process(self._process.pid).children(recursive=True)
            self._process.send_signal(by)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_S)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for process in below:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


class Workers:
    """The worker processes of a queue: one program, or one for each worker."""

    def __init__(self, folder: Path, *, stop_by: signal.Signals = signal.SIGTERM) -> None:
        self.folder = folder
        self.ready = folder / "ready"
        self._stop_by = stop_by
        self._programs: list[Program] = []

    def start(
        self, commands: Sequence[Sequence[str]], environment: Mapping[str, str], warm: Path | None = None
    ) -> None:
        self.ready.mkdir(exist_ok=True)
        more = {"LOADTEST_READY": str(self.ready)} | ({} if warm is None else {"LOADTEST_WARM": str(warm)})
        for number, arguments in enumerate(commands):
            self._programs.append(
                Program(self.folder, arguments, {**environment, **more}, f"workers-{number}")
            )

    def wait_until_ready(self, count: int) -> None:
        """So many processes have warmed up."""
        until(lambda: self._ready() >= count, 120, f"{count} workers are warm")

    def _ready(self) -> int:
        self.check()
        return len(list(self.ready.iterdir()))

    def check(self) -> None:
        for program in self._programs:
            program.check()

    def stop(self) -> None:
        for program in self._programs:
            program.stop(self._stop_by)
        self._programs.clear()
