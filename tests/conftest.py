"""What holds for every test."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def leaves_the_process_as_it_was() -> Iterator[None]:
    """Tests share their process: what one silences or moves, the next one would stumble over."""
    before = _shared()
    yield
    assert _shared() == before


def _shared() -> dict[str, object]:
    return {
        "logging disabled below": logging.root.manager.disable,
        "working folder": os.getcwd(),
        "handlers of signals": [
            signal.getsignal(number)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
        ],
    }
