"""What sinks hear of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from farm.connector import Document, Gone, Listing, Record
from farm.store.check import check
from farm.store.row import document_id
from farm.store.store import Store
from tests.store.attempts import Attempts, unit


def heard(store: Store, consumer: str) -> list[tuple[str, str]]:
    return [(change.op, change.ref) for change in store.changes(consumer)]


A, B = document_id("notes", "a"), document_id("notes", "b")


def test_each_consumer_hears_what_changed_since_it_last_listened(store: Store, notes: Attempts) -> None:
    notes.hold("a", "alpha")
    notes.land(notes.discover(Record("s", {"v": 1}, key="k")))
    assert heard(store, "one") == heard(store, "two") == [("put", A), ("put", "s:k")]
    store.acknowledge("one", store.changes("one")[-1].seq)
    notes.hold("b", "beta")
    assert heard(store, "one") == [("put", B)]
    assert heard(store, "two") == [("put", A), ("put", "s:k"), ("put", B)]
    assert len(store.changes("two", limit=2)) == 2
    store.acknowledge("one", 0)  # nobody goes back
    assert heard(store, "one") == [("put", B)]


def test_only_the_newest_change_of_a_thing_is_kept(store: Store, notes: Attempts) -> None:
    for text in ("one", "two", "three"):
        notes.hold("a", text)
    notes.hold("b", "beta")
    notes.land(notes.discover(Gone("a")))
    assert heard(store, "new") == [("put", B), ("delete", A)]


def test_a_move_tells_the_new_name_with_the_old_and_then_the_end_of_the_old(
    store: Store, notes: Attempts
) -> None:
    notes.hold("a", "alpha", "ino1")
    store.acknowledge("sink", store.changes("sink")[-1].seq)
    notes.land(notes.discover(unit("b", "ino1"), Listing(complete=True)))
    assert [(c.op, c.ref, c.was) for c in store.changes("sink")] == [("put", B, A), ("delete", A, "")]


def test_what_did_not_commit_is_not_told(store: Store, notes: Attempts) -> None:
    def broken() -> Iterator[Document]:
        yield Document("b", "beta")
        raise OSError("the spool cannot be read")

    landing = replace(notes.extract("b"), lines=broken())
    with pytest.raises(OSError, match="spool"):
        store.land([notes.extract("a", Document("a", "alpha")), landing])
    assert heard(store, "sink") == []


def test_removing_a_source_tells_its_end(store: Store, notes: Attempts) -> None:
    notes.hold("a", "alpha")
    other = Attempts(store, "other", first=100)
    other.hold("b", "beta")
    notes.land(notes.discover(Record("s", {"v": 1}, key="k")))
    store.acknowledge("sink", store.changes("sink")[-1].seq)
    assert store.remove_source("notes") == 2
    assert heard(store, "sink") == [("delete", A), ("delete", "s:k")]


def test_of_a_name_that_is_taken_again_only_the_new_bearer_is_told(store: Store, notes: Attempts) -> None:
    notes.hold("a", "alpha", "ino1")
    notes.land(notes.discover(unit("b", "ino1"), Listing(complete=True)))
    notes.hold("a", "another")
    assert heard(store, "sink") == [("put", B), ("put", A)]
    notes.land(notes.discover(unit("b", "ino1"), Listing(complete=True)))
    assert heard(store, "sink") == [("put", B), ("delete", A)]
    store.remove_source("notes")
    assert sorted(heard(store, "sink")) == sorted([("delete", A), ("delete", B)])
    Attempts(store, first=50).hold("b", "back")
    assert heard(store, "sink") == [("delete", A), ("put", B)]
    assert check(store.path) == []
