"""Real farms in processes of their own: made, started, stopped, killed, and never left behind.

with Farm(tmp_path / "home", {"notes": local_files(folder)}) as farm:
    assert farm.drain() == 0
    assert farm.json("search", "word")
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import tomlkit

from farm import control
from farm.core.job import State
from farm.errors import FarmNotRunning
from farm.home import LEDGER, STORE
from farm.sqlite import open_reader
from farm.workers import proc, reaper
from tests.support.wait import until

ROOT = Path(__file__).resolve().parents[2]
CONNECTORS = "tests.support.connectors"
START_S = 30.0

Table = Mapping[str, Any]


def local_files(folder: Path, **table: Any) -> dict[str, Any]:
    """A source's table for a folder."""
    options = {"path": str(folder), **table.pop("options", {})}
    return {"connector": "local_files", "options": options, **table}


def misbehaving(connector: str, *units: str, **table: Any) -> dict[str, Any]:
    """A source's table for a connector of tests.support.connectors; `options` may be given too."""
    options = {**({"units": list(units)} if units else {}), **table.pop("options", {})}
    return {"connector": f"{CONNECTORS}:{connector}", "options": options, **table}


def like_anybody() -> list[str]:
    """Words before a command to which a folder's mode means something, though root runs it."""
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


class Farm:
    """One state folder with its farm.toml, and the farm process on it, if one runs."""

    def __init__(self, home: Path, sources: Mapping[str, Table] | None = None, **farm: Any) -> None:
        """`farm` are the keys of the [farm] table; two workers unless they say otherwise.

        Without `sources` an existing farm.toml stays as it is.
        """
        self.home = home
        self.config = home / "farm.toml"
        self.process: subprocess.Popen[bytes] | None = None
        self.prefix: list[str] = []
        """Words before each command."""
        self.environment = {
            **{k: v for k, v in os.environ.items() if k not in ("FARM_HOME", "FARM_DEBUG", "COLUMNS")},
            "PYTHONPATH": str(ROOT),
            "XDG_STATE_HOME": str(home.parent / "xdg"),
        }
        self.output = home.parent / f"{home.name}.out"
        if sources is not None or not self.config.exists():
            self.configure(sources or {}, **farm)

    def configure(self, sources: Mapping[str, Table], **farm: Any) -> None:
        """Write farm.toml anew."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        document = {"farm": {"workers": 2, **farm}, "sources": {k: dict(v) for k, v in sources.items()}}
        self.config.write_text(tomlkit.dumps(document), encoding="utf-8")

    # -- the process

    def start(self, *, drain: bool = False, ready: bool = True, progress: bool = False) -> Self:
        """Start it; returns once it answers on its socket (not waited for with `drain` or without `ready`)."""
        assert self.process is None or self.process.poll() is not None, "this farm runs already"
        arguments = ["start", *([] if progress else ["--no-progress"]), *(["--drain"] if drain else [])]
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                self._command(*arguments),
                env=self.environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        if ready and not drain:
            until(self._answers, START_S, what="the farm's start")
        return self

    def drain(self, timeout_s: float = 60.0) -> int:
        """Start it, have it work until nothing is left; its exit code."""
        return self.start(drain=True).wait(timeout_s)

    def look(self, timeout_s: float = 60.0) -> None:
        """Have it run every source once, and wait until that is over; it is started if it does not run.

        Sooner done than `drain`, and its workers are warm from the second time on.
        """
        if self.process is None or self.process.poll() is not None:
            self.start()
        names = tomllib.loads(self.config.read_text(encoding="utf-8"))["sources"]
        runs = {self.call("run", source=name)["run_id"] for name in names}
        over = "SELECT id FROM run WHERE finished_at IS NOT NULL"
        until(
            lambda: runs <= {id_ for (id_,) in self.ledger(over)}, timeout_s, what=f"the end of runs {runs}"
        )

    def wait(self, timeout_s: float = 60.0) -> int:
        """Wait for the process to end by itself; its exit code."""
        assert self.process is not None
        return self.process.wait(timeout_s)

    def stop(self, *, now: bool = False, timeout_s: float = 60.0) -> int:
        """End it in order; its exit code."""
        control.call(self.home, "stop", now=now)
        return self.wait(timeout_s)

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """kill -9 of the farm process alone: what becomes of the rest is the farm's own business."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def said(self) -> str:
        """What the process printed, and the newest of its log."""
        log = self.home / "logs" / "farm.log"
        return "\n".join(_end_of(path) for path in (self.output, log) if path.exists())

    def processes(self) -> list[int]:
        """Pids of everything that belongs to this farm: it, its fork server, guard, workers and theirs."""
        named = [pid for pid in proc.pids() if self._names_home(pid)]
        marked = [pid for pid, _ in reaper.strays(str(self.home))]
        return sorted({*named, *marked} - {os.getpid()})

    def _names_home(self, pid: int) -> bool:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        found = proc.stat(pid)
        return os.fsencode(self.home) in words and found is not None and not found.gone

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the farm ended with {self.process.returncode}: {self.said()}")
        try:
            self.call("ping")
        except FarmNotRunning:
            return False
        return True

    # -- asking

    def _command(self, *arguments: str) -> list[str]:
        return [*self.prefix, sys.executable, "-m", "farm.cli", "--home", str(self.home), *arguments]

    def cli(self, *arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a command of the CLI on this farm."""
        return subprocess.run(
            self._command(*arguments),
            env=self.environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def json(self, *arguments: str) -> Any:
        """What a command prints with `--format json`; it must exit 0."""
        done = self.cli(*arguments, "--format", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def call(self, op: str, **arguments: Any) -> Any:
        """Ask the running farm over its socket."""
        return control.call(self.home, op, **arguments)

    def ledger(self, sql: str, *values: object) -> list[Any]:
        """Rows of the ledger."""
        return _rows(self.home / LEDGER, sql, values)

    def store(self, sql: str, *values: object) -> list[Any]:
        """Rows of the store."""
        return _rows(self.home / STORE, sql, values)

    def jobs(self) -> dict[str, int]:
        """How many jobs rest in which state."""
        return dict(self.ledger("SELECT state, count(*) FROM job GROUP BY state"))

    def until_jobs(self, timeout_s: float = 60.0, **counts: int) -> None:
        """Wait until exactly so many jobs rest in these states (others do not matter)."""
        try:
            until(lambda: counts.items() <= self._counts().items(), timeout_s, every_s=0.05)
        except AssertionError:
            raise AssertionError(f"{counts} wanted, but {self._counts()}\n{self.said()}") from None

    def _counts(self) -> dict[str, int]:
        return dict.fromkeys(map(str, State), 0) | self.jobs()

    # -- the end

    def close(self) -> None:
        """Kill it with everything that is left of it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        reaper.sweep(str(self.home))
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _end_of(path: Path, most: int = 4000) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - most))
        return file.read().decode(errors="replace")


def _rows(path: Path, sql: str, values: tuple[object, ...]) -> list[Any]:
    with contextlib.closing(open_reader(path)) as db:
        return db.execute(sql, values).fetchall()
