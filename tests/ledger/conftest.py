from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.ledger.ledger import Ledger


class Clock:
    """Time that stands until a test moves it."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    ledger = Ledger.open(tmp_path / "ledger.db", clock=clock)
    yield ledger
    ledger.close()
