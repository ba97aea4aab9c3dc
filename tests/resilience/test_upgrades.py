"""What every earlier schema version left is taken up, and a migration happens whole or not at all."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from farm.errors import FarmError, NewerSchema
from farm.home import LEDGER, STORE
from farm.ledger.ledger import Ledger
from farm.store.store import Store
from tests.resilience.boundaries import FUTURE, NEXT, Point, migrate, strike_all
from tests.resilience.schemas import CURRENT, SOURCES, every, folder_of, load
from tests.resilience.tools import needs
from tests.support.farms import Farm


def test_the_current_schema_versions_have_their_dumps() -> None:
    """Who gives a schema a new version runs `python -m tests.resilience.schemas`, and commits what it writes."""
    assert CURRENT in every(), f"{folder_of(CURRENT).name} is missing"


@pytest.mark.parametrize("versions", every(), ids=lambda versions: folder_of(versions).name)
def test_a_farm_takes_up_what_an_earlier_version_left(tmp_path: Path, versions: dict[str, int]) -> None:
    sources = {**SOURCES, "hangs": {**SOURCES["hangs"], "options": {"units": ["good"]}}}
    with Farm(tmp_path / "home", sources) as farm:
        load(farm.home, versions)
        assert farm.jobs() == {"succeeded": 7, "quarantined": 1, "retrying": 1, "running": 1}
        farm.start()
        farm.call("cancel_jobs", source="later", all=True)
        farm.call("run", source="sleeps")
        farm.until_jobs(running=1, retrying=0, pending=0, quarantined=1)
        found = farm.json("search", "slept")
        assert len(found) == 3
        assert farm.stop(now=True) == 0
        doctor = farm.cli("doctor")
        assert doctor.returncode == 0, doctor.stdout
        for name, version in CURRENT.items():
            with closing(sqlite3.connect(farm.home / name)) as db:
                assert db.execute("PRAGMA user_version").fetchone() == (version,)


# -- a migration that is yet to come


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A ledger and a store of the current version."""
    load(tmp_path, CURRENT)
    return tmp_path


def contents(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return list(db.iterdump())


def test_a_migration_keeps_every_row_and_a_copy_of_what_was_there(home: Path) -> None:
    before = contents(home / LEDGER)
    with closing(migrate(home)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (NEXT,)
        assert db.execute("SELECT count(*) FROM job WHERE colour = 'none'").fetchone() == (10,)
    assert contents(home / f"{LEDGER}.v{NEXT - 1}.bak") == before
    migrate(home).close()


def test_a_migration_that_fails_leaves_the_file_as_it_was(home: Path) -> None:
    before = contents(home / LEDGER)
    with pytest.raises(FarmError):
        migrate(home, f"{FUTURE} UPDATE job SET no_such_column = 1;")
    assert contents(home / LEDGER) == before
    ledger = Ledger.open(home / LEDGER)
    ledger.close()


def test_what_a_newer_farm_wrote_is_refused_and_not_touched(home: Path) -> None:
    migrate(home).close()
    with closing(sqlite3.connect(home / STORE)) as db:
        db.execute("PRAGMA user_version = 99")
    before = [(home / name).read_bytes() for name in (LEDGER, STORE)]
    with pytest.raises(NewerSchema, match=f"schema version {NEXT}"):
        Ledger.open(home / LEDGER)
    with pytest.raises(NewerSchema, match="schema version 99"):
        Store.open(home / STORE)
    assert [(home / name).read_bytes() for name in (LEDGER, STORE)] == before


def test_a_kill_in_the_middle_of_a_migration_leaves_the_old_or_the_new() -> None:
    """Before its first write, in the middle, and at the commit; `boundaries` knows them all."""
    needs("strace")
    struck = strike_all(
        [
            Point("migrate", call, nth, "SIGKILL")
            for call, nth in (("pwrite64", 1), ("pwrite64", 30), ("fdatasync", 5))
        ]
    )
    assert not struck.broken, struck.broken
    assert sum(n for (*_, end), n in struck.ended.items() if end == "killed") == 3
