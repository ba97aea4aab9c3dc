"""RQ's side of it: `python -m loadtest.tasks.rq` is one worker that has loaded what its jobs need before it forks,
as RQ's documentation advises ("Performance Notes" of its page on workers)."""

from __future__ import annotations

import importlib
import os

from redis import Redis
from rq import Queue, Worker

from loadtest import tasks
from loadtest.reading import read_and_write

__all__ = ["noop", "read_and_write"]


def noop(n: int) -> None:
    """Nothing."""


def import_readers() -> None:
    """What documents are read with. Imported, and not used before the fork: a library that has threads of its own
    would wait for them for ever in the child."""
    for name in ("kreuzberg", "connectors.files.rich", "connectors.files.pages", "connectors.files.office"):
        importlib.import_module(name)


if __name__ == "__main__":
    connection = Redis.from_url(os.environ[tasks.BROKER])
    import_readers()
    tasks.ready(warm=False)
    Worker([Queue(connection=connection)], connection=connection).work(logging_level="WARNING")
