"""Huey's side of it: `python -m huey.bin.huey_consumer loadtest.tasks.huey.queue`."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from huey import SqliteHuey

from loadtest import tasks
from loadtest.reading import read_and_write


class Tasks(NamedTuple):
    queue: Any
    noop: Any
    read: Any


def make(path: str) -> Tasks:
    """A queue with its defaults (WAL, SQLite's own synchronous=FULL), and its two tasks."""
    queue: Any = SqliteHuey(filename=path)
    queue.on_startup()(tasks.ready)
    return Tasks(queue, queue.task(name="noop")(noop), queue.task(name="read")(read_and_write))


def noop(n: int) -> None:
    """Nothing."""


if tasks.BROKER in os.environ:
    queue = make(os.environ[tasks.BROKER]).queue
