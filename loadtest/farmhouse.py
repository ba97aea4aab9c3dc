"""A real farm in a process of its own, spoken to through its public door: the command line and the socket."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import psutil
import tomlkit

from farm import control
from farm.errors import FarmNotRunning

T = TypeVar("T")

START_S = 30.0


def until(condition: Callable[[], T], timeout_s: float, what: str, every_s: float = 0.01) -> T:
    """The first truthy value; TimeoutError when there is none by then."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s:g} s: {what}")
        time.sleep(every_s)
    return value


class Farmhouse:
    """`with Farmhouse(home, config) as farm:` starts it; leaving stops it at once."""

    def __init__(self, home: Path, config: Mapping[str, Any]) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        (home / "farm.toml").write_text(tomlkit.dumps(config))
        self._db: sqlite3.Connection | None = None

    def __enter__(self) -> Farmhouse:
        self.start()
        return self

    def start(self) -> None:
        """Start it and wait until it answers; a second time after `kill`."""
        self._log = (self.home / "loadtest.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "farm.cli", "--home", str(self.home), "start", "--no-progress"],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            cwd=Path(__file__).resolve().parents[1],
        )
        self.process = psutil.Process(self._process.pid)
        try:
            until(self._answers, START_S, f"the farm starts; its output is in {self._log.name}")
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            said = (self.home / "loadtest.log").read_text()
            raise RuntimeError(f"the farm ended with {self._process.returncode}: {said}")
        try:
            return bool(control.call(self.home, "ping"))
        except FarmNotRunning:
            return False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def kill(self) -> None:
        """As a power cut would: no farewell."""
        self._process.kill()
        self._process.wait()
        self._log.close()

    def stop(self) -> None:
        """At once: what runs is interrupted."""
        if self._db is not None:
            self._db.close()
            self._db = None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            time.sleep(0.05)
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def ask(self, op: str, **args: Any) -> Any:
        return control.call(self.home, op, actor="loadtest", timeout_s=120, **args)

    # -- what can be read without asking

    def counts(self) -> dict[str, dict[str, int]]:
        """Jobs per source and state."""
        found: dict[str, dict[str, int]] = {}
        for source, state, n in self.ledger().execute(
            "SELECT run.source, tally.state, sum(n) FROM tally JOIN run ON run.id = run_id GROUP BY 1, 2"
        ):
            found.setdefault(source, {})[state] = n
        return found

    def open_jobs(self) -> int:
        """Jobs that are not over."""
        row = self.ledger().execute(
            "SELECT coalesce(sum(n), 0) FROM tally WHERE state IN ('pending', 'running', 'retrying')"
        )
        return int(row.fetchone()[0])

    def last_attempt(self) -> int:
        """The number of the newest lease."""
        row = self.ledger().execute("SELECT coalesce(max(id), 0) FROM attempt")
        return int(row.fetchone()[0])

    def read_files(self, source: str) -> int:
        """Files of a folder that were read, or refused for good."""
        row = self.ledger().execute(
            "SELECT count(DISTINCT key) FROM job WHERE source = ? AND stage = 'extract'"
            " AND state IN ('succeeded', 'quarantined')",
            (source,),
        )
        return int(row.fetchone()[0])

    def documents(self) -> int:
        """Documents in the store."""
        path = f"file:{self.home / 'store.db'}?mode=ro"
        with closing(sqlite3.connect(path, uri=True, timeout=30)) as store:
            row = store.execute("SELECT count(*) FROM document WHERE deleted_at IS NULL")
            return int(row.fetchone()[0])

    def ledger(self) -> sqlite3.Connection:
        if self._db is None:
            path = f"file:{self.home / 'ledger.db'}?mode=ro"
            self._db = sqlite3.connect(
                path, uri=True, isolation_level=None, check_same_thread=False, timeout=30
            )
        return self._db

    def usage(self) -> dict[str, Any]:
        """CPU seconds and resident bytes of the farm process and of all its children; CPU of the machine."""
        with self.process.oneshot():
            times, memory = self.process.cpu_times(), self.process.memory_info().rss
        below, below_s = 0, times.children_user + times.children_system
        for child in self.process.children(recursive=True):
            try:
                below += child.memory_info().rss
                used = child.cpu_times()
                below_s += used.user + used.system
            except psutil.Error:
                continue
        whole, own = psutil.cpu_times(), psutil.Process().cpu_times()
        return {
            "cpu_s": times.user + times.system,
            "memory_bytes": memory,
            "children_bytes": below,
            "children_cpu_s": below_s,
            "driver_cpu_s": own.user + own.system,
            "machine_cpu_s": sum(whole) - whole.idle - whole.iowait - whole.guest - whole.guest_nice,
        }


def environment() -> dict[str, str]:
    """For the commands that are timed."""
    return {**os.environ, "NO_COLOR": "1"}
