"""Other queues, each as its own documentation recommends, behind one interface.

A peer is one module `loadtest/peers/<name>.py` with a class `Queue`. Two works are asked of each: jobs that do nothing
(`enqueue`, then `work`), and a folder of documents to read (`read`). What a peer does not do is said in `LACKS`, what
it does and the farm does not in `OFFERS`; both are printed beside its figures.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

from loadtest.effort import Effort, Work

NAMES = ("farm", "multiprocessing", "pebble", "huey", "celery", "dramatiq", "dramatiq_tuned", "rq")
FLOOR = ("pebble", "multiprocessing")
"""Bare pools: what the same work costs when nothing is kept about it."""


class Missing(Exception):
    """A peer cannot run on this machine; the message is one sentence that says what is not there."""


class Peer(Protocol):
    """One fresh queue, used once: `start`, then `enqueue` and `work`, or `read`; then `close`."""

    LACKS: Sequence[str]
    OFFERS: Sequence[str]
    SHARE: float
    """How many no-op jobs it gets for each of the farm's: a rate needs seconds, not jobs."""
    READS: float
    """And how many documents for each of the farm's."""
    store: Path
    """Where the rows are after `read`."""

    def __init__(self, folder: Path, workers: int) -> None:
        """Everything it writes goes into `folder`."""

    def start(self) -> None:
        """What runs before the first job comes (a broker, a server). Raises Missing."""

    def enqueue(self, jobs: int) -> float:
        """Put so many no-op jobs in through its public door, as a program would; the seconds it took.

        None of them may begin. What keeps no queue returns 0.
        """

    def work(self) -> Work:
        """Let its workers do all of them; counted once they are at work (start-up does not count)."""

    def read(self, folder: Path, warm: Path) -> Effort:
        """Read every document in `folder`: what it takes until all rows and their index are committed.

        The workers are there when the clock starts, and have read the documents in `warm`.
        """

    def close(self) -> None:
        """Stop everything that was started."""


def peer(name: str) -> type[Peer]:
    """Raises Missing when its package is not installed."""
    if name not in NAMES:
        raise Missing(f"there is no peer of this name; there are {', '.join(NAMES)}")
    try:
        return cast("type[Peer]", importlib.import_module(f"loadtest.peers.{name}").Queue)
    except ModuleNotFoundError as error:
        raise Missing(f"the package {error.name} is not installed (pip install '.[loadtest]')") from error
