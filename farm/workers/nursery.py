"""The nursery: multiprocessing's fork server, from which every worker is forked, warm and marked.

Its interface is multiprocessing's own global one, so there is one in a process.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from farm.workers import reaper

_one_at_a_time = threading.Lock()


@contextlib.contextmanager
def starting() -> Iterator[None]:
    """Around every start of a process."""
    with _one_at_a_time, _without_main():
        yield


LONGEST_FOLDER = 80
"""In a folder with a longer path a socket could not be bound."""
_folder: int | None = None
"""The open folder, where its path is too long."""


def lie_in(folder: Path) -> None:
    """Have the fork server's socket in this folder, emptied of older ones: in a temporary one it would stay
    behind when the farm is killed."""
    global _folder
    folder.mkdir(mode=0o700, exist_ok=True)
    for old in folder.iterdir():
        old.unlink(missing_ok=True)
    path = str(folder)
    if len(os.fsencode(folder)) > LONGEST_FOLDER:
        _folder = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        path = f"/proc/{os.getpid()}/fd/{_folder}"  # by the pid, so that it leads there from workers, too
    multiprocessing.current_process()._config["tempdir"] = path  # type: ignore[attr-defined]


def start(marker: str) -> int:
    """Make sure that the fork server runs; returns its pid. Every process below it bears the marker."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.environ.get("PYTHONPATH")
    with starting():
        multiprocessing.forkserver.set_forkserver_preload(["farm.workers.preload"])
        with (
            _environment(
                {
                    reaper.MARKER: marker,
                    "SPT_NOENV": "1",  # or process titles would be written over the marker
                    "PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root,
                }
            ),
            _no_word_of_leaks(),
        ):
            multiprocessing.forkserver.ensure_running()
    return pid()


def pid() -> int:
    """Zero when there is none."""
    return int(_server()._forkserver_pid or 0)


def alive_fd() -> int | None:
    """The pipe whose end ends the fork server."""
    fd: int | None = _server()._forkserver_alive_fd
    return fd


def kill() -> None:
    """Its workers die with it."""
    if server := pid():
        with contextlib.suppress(ProcessLookupError):
            os.kill(server, signal.SIGKILL)


def stop() -> None:
    """End the fork server, and its claim on this process."""
    global _folder
    server = _server()
    if server._forkserver_pid is not None:
        kill()
        with contextlib.suppress(ChildProcessError, FileNotFoundError):
            server._stop()
        server._forkserver_pid = None
    multiprocessing.current_process()._config.pop("tempdir", None)  # type: ignore[attr-defined]
    if _folder is not None:
        os.close(_folder)
        _folder = None


def _server() -> Any:
    return multiprocessing.forkserver._forkserver


@contextlib.contextmanager
def _no_word_of_leaks() -> Iterator[None]:
    """When the farm is killed, multiprocessing's tracker takes away its semaphores, and would warn of them."""
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    try:
        yield
    finally:
        sys.warnoptions.pop()


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Children import the main module of their parent, by default: ours is a whole command line."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
