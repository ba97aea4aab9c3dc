"""Units that move take their records along, and whoever names them names them as they are now."""

from __future__ import annotations

import json
from typing import Any

from farm.connector import Document, Listing, Record, Schema
from farm.store.check import check
from farm.store.store import Store
from tests.store.attempts import Attempts, counts, rows, unit

LINKS = Schema(
    "links",
    {"properties": {"from": {"x-unit-key": True}, "to": {"x-unit-key": True}, "text": {"type": "string"}}},
    ["from", "text"],
)


def note(notes: Attempts, key: str, *to: str, version: str) -> None:
    links = [Record("links", {"from": key, "to": t, "text": t}, f"{key}#{n}") for n, t in enumerate(to)]
    notes.land(notes.extract(key, Document(key, f"text of {key}"), *links, version=version))


def links(store: Store) -> dict[str, Any]:
    found = rows(store, "SELECT key, unit, data FROM record WHERE deleted_at IS NULL ORDER BY key")
    return {key: (unit, json.loads(data)["from"], json.loads(data)["to"]) for key, unit, data in found}


def whole(store: Store) -> bool:
    return not list(check(store.path))


def test_links_from_and_to_a_renamed_unit_follow_it(store: Store, notes: Attempts) -> None:
    notes.land(notes.discover(LINKS, unit("a", "1"), unit("b", "2"), Listing(True)))
    note(notes, "a", "b", "c", version="1")
    note(notes, "b", "a", version="2")
    landed = notes.land(notes.discover(LINKS, unit("a", "1"), unit("z", "2"), Listing(True)))
    assert counts(landed)["moved"] == 1
    assert not landed.children
    assert links(store) == {
        "a#0": ("a", "a", "z"),
        "a#1": ("a", "a", "c"),
        "z#0": ("z", "z", "a"),
    }
    changes = rows(store, "SELECT op, ref, was FROM outbox WHERE kind = 'record' ORDER BY seq")
    assert ("put", "links:z#0", "links:b#0") in changes
    assert changes.index(("put", "links:z#0", "links:b#0")) < changes.index(("delete", "links:b#0", ""))
    assert ("put", "links:a#0", "") in changes
    assert whole(store)


def test_two_units_that_change_places_do_not_run_into_each_other(store: Store, notes: Attempts) -> None:
    notes.land(notes.discover(LINKS, unit("a", "1"), unit("b", "2"), Listing(True)))
    note(notes, "a", "b", version="1")
    note(notes, "b", "a", version="2")
    notes.land(notes.discover(LINKS, unit("c", "1"), unit("b", "2"), Listing(True)))
    notes.land(notes.discover(LINKS, unit("c", "1"), unit("a", "2"), Listing(True)))
    notes.land(notes.discover(LINKS, unit("b", "1"), unit("a", "2"), Listing(True)))
    assert links(store) == {"a#0": ("a", "a", "b"), "b#0": ("b", "b", "a")}
    assert whole(store)


def test_a_key_that_a_dead_record_holds_is_free_for_one_that_moves(store: Store, notes: Attempts) -> None:
    notes.land(notes.discover(LINKS, unit("a", "1"), unit("b", "2"), Listing(True)))
    note(notes, "a", "x", version="1")
    note(notes, "b", "y", version="2")
    notes.land(notes.discover(LINKS, unit("b", "2"), Listing(True)))
    notes.land(notes.discover(LINKS, unit("a", "2"), Listing(True)))
    assert links(store) == {"a#0": ("a", "a", "y")}
    assert whole(store)


def test_records_of_a_stream_that_says_nothing_of_units_keep_their_data(
    store: Store, notes: Attempts
) -> None:
    plain = Schema("plain", {"properties": {"from": {"type": "string"}}}, ["from"])
    notes.land(notes.discover(plain, unit("a", "1"), Listing(True)))
    notes.land(notes.extract("a", Record("plain", {"from": "a"}, "mine"), version="1"))
    notes.land(notes.discover(plain, unit("b", "1"), Listing(True)))
    assert rows(store, "SELECT key, unit, data ->> 'from' FROM record") == [("mine", "b", "a")]
    assert whole(store)
