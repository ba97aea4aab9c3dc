"""Other queues, each as its own documentation recommends, behind one interface.

A peer is one module `loadtest/peers/<name>.py` with a class `Queue`. The work is told by its name; what a
peer does not do is said in `LACKS`, and printed beside its figures.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast


class Peer(Protocol):
    """One fresh queue, used once: `start`, `enqueue`, `work`, `close`."""

    LACKS: Sequence[str]

    def __init__(self, folder: Path, workers: int) -> None:
        """Everything it writes goes into `folder`."""

    def start(self) -> None:
        """What runs before the first job comes (a broker, a server)."""

    def enqueue(self, jobs: int) -> float:
        """Put so many no-op jobs in through its public door, as a program would; the seconds it took.

        None of them may begin.
        """

    def work(self) -> float:
        """Let its workers do all of them; jobs a second, once they are at work (start-up does not count)."""

    def close(self) -> None:
        """Stop everything that was started."""


def peer(name: str) -> type[Peer]:
    return cast("type[Peer]", importlib.import_module(f"loadtest.peers.{name}").Queue)
