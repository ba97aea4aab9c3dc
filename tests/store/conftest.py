from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.store.check import check
from farm.store.store import Store
from tests.store.attempts import Attempts


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store; whatever a test does with it, its own checks must find nothing wrong in the end."""
    with Store.open(tmp_path / "store.db") as store:
        yield store
        assert check(store.path, deep=True) == []


@pytest.fixture
def notes(store: Store) -> Attempts:
    return Attempts(store)
