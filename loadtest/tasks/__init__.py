"""What the peers' workers run, one module for each queue that has workers of its own.

Both tasks are the same everywhere: one that does nothing, and `loadtest.reading.read_and_write`. Which queue they
belong to is told by the environment, `LOADTEST_BROKER`; a program that enqueues makes its own with `make`.
"""

from __future__ import annotations

import os
from pathlib import Path

from loadtest.reading import warm_up

BROKER = "LOADTEST_BROKER"


def ready(*, warm: bool = True) -> None:
    """In each worker process before its first task: load what readers load, then say so by a file."""
    folder = os.environ.get("LOADTEST_WARM")
    if folder and warm:
        warm_up(folder)
    Path(os.environ["LOADTEST_READY"], str(os.getpid())).touch()
