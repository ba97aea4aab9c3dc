"""How a store is made, migrated, refused, emptied and shared."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path

import pytest

from farm.connector import Document
from farm.errors import FarmError, NewerSchema, StoreDamaged
from farm.store import store as module
from farm.store.check import check
from farm.store.search import search
from farm.store.store import SCHEMA_VERSION, Store
from tests.store.attempts import Attempts, rows


def test_a_newer_store_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    Store.open(path).close()
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    with pytest.raises(NewerSchema, match=r"store\.db has schema version"):
        Store.open(path)


def test_a_migration_keeps_a_copy_and_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store.db"
    with Store.open(path) as store:
        Attempts(store).hold("a", "alpha")
    monkeypatch.setattr(module, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    monkeypatch.setattr(
        module, "MIGRATIONS", {SCHEMA_VERSION: "ALTER TABLE unit ADD COLUMN note TEXT NOT NULL DEFAULT '';"}
    )
    with Store.open(path) as store:
        assert rows(store, "SELECT key, note FROM unit") == [("a", "")]
        assert len(search(path, "alpha")) == 1
    copy = tmp_path / f"store.db.v{SCHEMA_VERSION}.bak"
    assert len(search(copy, "alpha")) == 1
    assert check(copy, deep=True) == []


def test_a_migration_that_fails_leaves_the_store_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.db"
    with Store.open(path) as store:
        Attempts(store).hold("a", "alpha")
    with monkeypatch.context() as later:
        later.setattr(module, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
        later.setattr(module, "MIGRATIONS", {SCHEMA_VERSION: "DELETE FROM unit; SELECT no_such_function();"})
        with pytest.raises(FarmError):
            Store.open(path)
    with Store.open(path) as store:
        assert rows(store, "SELECT key FROM unit") == ["a"]


def test_what_is_no_store_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"hello" * 5000)
    with pytest.raises(StoreDamaged, match="damaged"):
        Store.open(path)


def test_only_its_owner_can_read_a_store(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with Store.open(path):
        assert {oct(os.stat(file).st_mode & 0o777) for file in tmp_path.iterdir()} == {"0o600"}


def test_what_was_landed_is_there_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with Store.open(path) as store:
        Attempts(store).hold("a", "alpha")
    with Store.open(path) as store:
        assert store.landed([1, 2]) == {1}
        assert len(search(path, "alpha")) == 1


def test_a_removed_source_leaves_nothing_behind_and_its_neighbour_alone(
    store: Store, notes: Attempts
) -> None:
    other = Attempts(store, "other", first=10_000)
    other.hold("b", "alpha of another source")
    for start in range(0, 1200, 64):
        store.land([notes.extract(f"u{n}", Document(f"u{n}", "alpha")) for n in range(start, start + 64)])
    assert store.remove_source("notes") == 1216
    assert [hit.source for hit in search(store.path, "alpha")] == ["other"]
    for table in ("document", "unit", "record", "stream", "cursor"):
        assert rows(store, f"SELECT count(*) FROM {table} WHERE source = 'notes'") == [0]
    assert store.remove_source("notes") == 0
    notes.hold("u1", "alpha again")
    assert len(search(store.path, "alpha")) == 2


def test_threads_may_share_a_store(store: Store) -> None:
    def work(number: int) -> None:
        mine = Attempts(store, f"source{number}", first=number * 1000 + 1)
        for n in range(20):
            mine.hold(f"k{n}", f"text {n}")
            assert store.landed([mine.next - 1])
            assert store.cursor(mine.source) is None

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows(store, "SELECT count(*) FROM document") == [80]


def test_a_full_disk_is_one_sentence_and_loses_nothing(store: Store, notes: Attempts) -> None:
    notes.hold("a", "alpha")
    limit = store._db.execute("PRAGMA max_page_count").fetchone()[0]
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages + 3}")
    landing = notes.extract("b", Document("b", "beta " * 100_000))
    with pytest.raises(FarmError, match="no space left"):
        store.land([landing])
    store._db.execute(f"PRAGMA max_page_count = {limit}")
    assert search(store.path, "beta") == []
    assert store.land([landing])[0].new == 1
