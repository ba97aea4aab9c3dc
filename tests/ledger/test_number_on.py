"""A ledger that lost its end gives no number twice: the store would take new content for what it has landed."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.farms import Farm, misbehaving


def test_a_ledger_older_than_its_store_numbers_on_from_there(tmp_path: Path) -> None:
    with Farm(tmp_path / "home", {"calm": misbehaving("Raises", "good1")}) as farm:
        assert farm.drain() == 0
        for name in farm.home.glob("ledger.db*"):
            shutil.copy(name, tmp_path / name.name)
        for n in range(2, 6):
            farm.configure({"calm": misbehaving("Raises", *(f"good{i}" for i in range(1, n + 1)))})
            assert farm.drain() == 0
        for name in farm.home.glob("ledger.db*"):
            name.unlink()
        for name in tmp_path.glob("ledger.db*"):
            shutil.copy(name, farm.home / name.name)
        more = ["good1", "new1", "new2", "new3"]
        farm.configure({"calm": misbehaving("Raises", *more)})
        assert farm.drain() == 0
        landed = farm.store("SELECT unit FROM document WHERE deleted_at IS NULL ORDER BY unit")
        assert [unit for (unit,) in landed] == more
