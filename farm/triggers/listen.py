"""Fires when the other side says that something changed: for sources that push, as folders do for `watch`.

A connector must not run in the farm's process, and a job that waits for mail would keep a cell from those who have
work. So a source that listens has a small process of its own, outside the cells and their budget, that holds one
connection, finds nothing and lands nothing: it says what to look at, and a run of short jobs looks.

- It is told what to listen to on its standard input, which stays open: when the farm dies, that end of file ends it.
- When it begins, and begins anew, everything is looked at: what it did not hear it cannot have said.
- When it ends by itself it is begun again, later each time; until then the source is looked at every `rescan_s`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from farm import shortage
from farm.settings import SourceSettings

PROGRAM = "farm.workers.listener"
FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 300.0
STEADY_S = 60.0
"""Who listened for so long and then ended has not failed in a row."""
CLOSE_S = 5.0

log = logging.getLogger("farm.listen")


class Listen:
    """One source's listening process; the same to its owner as a Watch."""

    def __init__(
        self,
        settings: SourceSettings,
        home: Path,
        environment: Mapping[str, str],
        fire: Callable[[str, list[str] | None], None],
        degraded: Callable[[str, str], None],
        *,
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        self._settings = settings
        self._home = home
        self._environment = environment
        self._fire = fire
        self._degraded = degraded
        self._first_pause_s = first_pause_s
        self._rescan_s = settings.rescan_s or float("inf")
        self._closing = threading.Event()
        self._said: str | None = None
        self._looked_at = time.monotonic()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = shortage.Thread(self._run, name=f"listen {settings.name}")

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """No fire begins after this returns, and its process is gone."""
        self._closing.set()
        self._hang_up()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(2 * CLOSE_S)

    def _run(self) -> None:
        pause_s = self._first_pause_s
        while not self._closing.is_set():
            began = time.monotonic()
            try:
                why = self._listen()
            except Exception as error:
                log.exception("listen.failed source=%s", self._settings.name)
                why = f"listening failed ({error})"
            if self._closing.is_set():
                return
            self._say(f"{why}; it is looked at by its schedule until it can be listened to again")
            if time.monotonic() - began > STEADY_S:
                pause_s = self._first_pause_s
            self._wait(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _listen(self) -> str:
        """One life of the process; why it ended."""
        with self._begin() as process:
            try:
                return self._hear(process)
            finally:
                self._hang_up()

    def _begin(self) -> subprocess.Popen[bytes]:
        settings = self._settings
        # In the farm's own session: what leads another one there is taken for an orphan of a worker.
        process = subprocess.Popen(
            [sys.executable, "-m", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Its title must not be written over its environment, by which it is found if need be.
            env={**os.environ, **self._environment, "SPT_NOENV": "1"},
        )
        self._process = process
        told = {
            "home": str(self._home),
            "source": settings.name,
            "connector": settings.connector,
            "options": settings.options_json,
        }
        assert process.stdin
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(told).encode() + b"\n")
            process.stdin.flush()
        return process

    def _hear(self, process: subprocess.Popen[bytes]) -> str:
        assert process.stdout
        fd, rest, why = process.stdout.fileno(), b"", "its listener ended"
        while not self._closing.is_set():
            ready, _, _ = select.select([fd], [], [], self._left_s())
            if not ready:
                self._look(None)
                continue
            data = os.read(fd, 65536)
            if not data:
                return why
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                said = json.loads(line)
                why = said.get("wrong", why)
                if "wrong" not in said:
                    self._say("")
                    self._look(said.get("path"))
        return why

    def _left_s(self) -> float | None:
        left_s = self._looked_at + self._rescan_s - time.monotonic()
        return None if left_s == float("inf") else max(0.0, left_s)

    def _look(self, path: str | None) -> None:
        if self._closing.is_set():
            return
        if path is None:
            self._looked_at = time.monotonic()
        self._fire(self._settings.name, None if path is None else [path])

    def _wait(self, pause_s: float) -> None:
        until = time.monotonic() + pause_s
        while not self._closing.is_set() and (left_s := until - time.monotonic()) > 0:
            rescan_s = self._left_s()
            if self._closing.wait(left_s if rescan_s is None else min(left_s, rescan_s)):
                return
            if self._left_s() == 0.0:
                self._look(None)

    def _hang_up(self) -> None:
        """Have the process end: kindly, then not."""
        process = self._process
        if process is None:
            return
        if process.stdin and not process.stdin.closed:
            with contextlib.suppress(OSError):
                process.stdin.close()
        try:
            process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _say(self, sentence: str) -> None:
        if sentence != self._said:
            self._said = sentence
            self._degraded(self._settings.name, sentence)
