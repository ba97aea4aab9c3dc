"""Where a worker sits: what its process is given once, and how it makes itself at home in it.

Runs in the worker, before its first launch: a session of its own, an end that follows the farm's, its
output in a file, a limit on what the kernel may be asked for.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import gc
import logging
import os
import resource
import signal
import sys
import tempfile
import threading
from dataclasses import dataclass
from multiprocessing import connection, forkserver, parent_process
from pathlib import Path
from typing import Any

from setproctitle import setproctitle

from farm import home as homes
from farm.secrets import CREDENTIALS, PREFIX
from farm.workers import proc, reaper
from farm.workers.vault import Vault

OOM_SCORE = "500"
"""The kernel, out of memory, takes a worker before it takes the farm."""


@dataclass(frozen=True, slots=True)
class Seat:
    """Given to a worker once. A generation is one life of a cell."""

    home: str
    cell: int
    generation: int
    instance: str
    forkserver_pid: int
    spool_max_bytes: int
    secrets: str
    """The state folder whose secrets it may ask for."""
    pythonpath: str | None = None
    """PYTHONPATH as the user had it; the fork server needs its own."""

    @property
    def name(self) -> str:
        return f"{self.cell}-{self.generation}"

    @property
    def beat(self) -> str:
        return f"{self.home}/beat/{self.name}.beat"

    @property
    def log(self) -> str:
        return f"{self.home}/beat/{self.name}.log"

    @property
    def scratch(self) -> Path:
        return Path(self.home, "scratch", f"cell-{self.name}")

    def cache_of(self, source: str) -> Path:
        """The source's own folder, kept between attempts and shared by its cells."""
        return homes.cache_of(Path(self.home), source)

    @property
    def marker(self) -> str:
        return f"{reaper.mark_of(self.home)}.{self.instance}:{self.cell}"


def take(seat: Seat) -> Vault:
    """Settle in; returns its way to secrets, which no child process of a connector shall inherit."""
    setproctitle(f"farm: cell {seat.cell}")
    os.setsid()
    _follow_the_farm(seat)
    # Whatever a connector double-forks stays in this worker's tree.
    proc.prctl(proc.PR_SET_CHILD_SUBREAPER, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)
    _redirect(seat.log)
    _keep_pipes_private()
    vault = Vault(Path(seat.secrets), dict(os.environ))
    for name in [name for name in os.environ if name.startswith(PREFIX) or name == CREDENTIALS]:
        del os.environ[name]
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_Masked(vault))
    os.environ.pop("SPT_NOENV", None)
    os.environ[reaper.MARKER] = seat.marker
    if seat.pythonpath is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = seat.pythonpath
    seat.scratch.mkdir(parents=True, exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(seat.scratch)
    os.chdir(seat.scratch)
    gc.collect()
    gc.freeze()
    return vault


class _Masked(logging.Formatter):
    """What is logged has no secret in it, whatever becomes of the log."""

    def __init__(self, vault: Vault) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")
        self._redact = vault.redact

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(super().format(record))


def _follow_the_farm(seat: Seat) -> None:
    """Two lines: the kernel's (we die with the fork server, which ends with the farm), and a thread that
    sees the farm's end by itself and takes this worker's tree along. The guard is the third."""
    server: Any = forkserver._forkserver
    # As long as a worker holds the alive pipe, the fork server outlives the farm: let go of it. A connector
    # that uses multiprocessing itself then gets a fork server of its own, inside this worker's tree.
    if server._forkserver_alive_fd is not None:
        os.close(server._forkserver_alive_fd)
    server._forkserver_alive_fd = server._forkserver_address = server._forkserver_pid = None
    server._preload_modules = []
    proc.prctl(proc.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != seat.forkserver_pid:
        os._exit(1)
    threading.Thread(target=_end_with_parent, name="sentinel", daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is None:
        return
    me = os.getpid()
    connection.wait([parent.sentinel])
    reaper.kill_below(me)
    os.kill(me, signal.SIGKILL)


def _redirect(log: str) -> None:
    """Standard input is empty; output and errors go to the cell's log, at the level of file descriptors."""
    null = os.open(os.devnull, os.O_RDONLY)
    out = os.open(log, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(null, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    for fd in (null, out):
        if fd > 2:
            os.close(fd)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - stays open for life
    sys.stdout = open(1, "w", 1, "utf-8", "backslashreplace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, "utf-8", "backslashreplace", closefd=False)  # noqa: SIM115
    faulthandler.enable(file=2)
    handler = logging.StreamHandler(sys.stderr)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)


def _keep_pipes_private() -> None:
    """Descriptors received from the farm are inheritable by default; no program we start needs them."""
    for name in Path("/proc/self/fd").iterdir():
        fd = int(name.name)
        if fd > 2:
            with contextlib.suppress(OSError):
                fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
