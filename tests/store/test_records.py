"""Streams and their records: keys, changes, tombstones."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from farm.connector import Line, Listing, Record, Schema
from farm.lines import decode
from farm.store.store import Store
from tests.store.attempts import Attempts, counts, rows

PEOPLE = Schema("people", {"type": "object"}, ["id"])


def living(store: Store) -> list[tuple[str, Any]]:
    found = rows(store, "SELECT key, data FROM record WHERE deleted_at IS NULL ORDER BY key")
    return [(key, json.loads(data)) for key, data in found]


def test_a_record_with_declared_keys_lands_once(store: Store, notes: Attempts) -> None:
    first = notes.land(notes.discover(PEOPLE, Record("people", {"id": 1, "name": "Ada"})))
    again = notes.land(notes.discover(PEOPLE, Record("people", {"id": 1, "name": "Ada"})))
    other = notes.land(
        notes.discover(Record("people", {"id": 1, "name": "Ada Lovelace"}))
    )  # the schema holds
    assert [counts(landed) for landed in (first, again, other)] == [
        {"new": 1},
        {"unchanged": 1},
        {"changed": 1},
    ]
    assert living(store) == [("1", {"id": 1, "name": "Ada Lovelace"})]
    assert rows(store, "SELECT stream, key_properties FROM stream") == [("people", '["id"]')]


def test_keys_of_several_properties_do_not_run_into_each_other(store: Store, notes: Attempts) -> None:
    schema = Schema("s", {}, ["a", "b"])
    notes.land(notes.discover(schema, Record("s", {"a": "x", "b": "yz"}), Record("s", {"a": "xy", "b": "z"})))
    assert [key for key, _ in living(store)] == ['["x","yz"]', '["xy","z"]']


def test_a_record_without_any_key_is_keyed_by_what_it_says(store: Store, notes: Attempts) -> None:
    landed = notes.land(
        notes.discover(Record("s", {"a": 1, "b": 2}), Record("s", {"b": 2, "a": 1}), Record("s", {}))
    )
    assert counts(landed) == {"new": 2}


def test_a_record_that_lacks_its_key_is_rejected_with_its_line(store: Store, notes: Attempts) -> None:
    landed = notes.land(
        notes.discover(PEOPLE, Record("people", {"name": "?"}), Record("people", {"id": None}))
    )
    assert counts(landed) == {"rejected": 2}
    assert landed.malformed[0] == "line 2: a record of people without a value of its key (id)"


def test_a_deleted_record_is_a_tombstone_until_it_comes_back(store: Store, notes: Attempts) -> None:
    notes.land(notes.discover(Record("s", {"v": 1}, key="k")))
    dead = Record("s", {}, key="k", deleted=True)
    assert counts(notes.land(notes.discover(dead))) == {"deleted": 1}
    assert counts(notes.land(notes.discover(dead))) == {}
    assert living(store) == []
    assert counts(notes.land(notes.discover(Record("s", {"v": 1}, key="k")))) == {"new": 1}


def test_the_last_of_a_key_within_one_attempt_holds_and_counts_once(store: Store, notes: Attempts) -> None:
    lines: list[Line] = [Record("s", {"v": n}, key=str(n % 3)) for n in range(12_000)]
    landed = notes.land(notes.discover(*lines))
    assert counts(landed) == {"new": 3}
    assert [data["v"] for _, data in living(store)] == [11_997, 11_998, 11_999]


def test_records_of_a_unit_are_replaced_as_a_set(store: Store, notes: Attempts) -> None:
    notes.land(notes.extract("2024", Record("rates", {"v": 1}, key="1"), Record("rates", {"v": 2}, key="2")))
    landed = notes.land(notes.extract("2024", Record("rates", {"v": 2}, key="2")))
    assert counts(landed) == {"unchanged": 1, "deleted": 1}


def test_a_complete_listing_speaks_only_of_the_streams_it_named(store: Store, notes: Attempts) -> None:
    notes.land(notes.discover(Record("a", {}, key="1"), Record("a", {}, key="2"), Record("b", {}, key="1")))
    landed = notes.land(notes.discover(Record("a", {}, key="1"), Listing(complete=True)))
    assert counts(landed) == {"unchanged": 1, "deleted": 1}
    assert rows(store, "SELECT stream, key FROM record WHERE deleted_at IS NULL") == [("a", "1"), ("b", "1")]


def test_a_smaller_fence_never_overwrites_a_record(store: Store, notes: Attempts) -> None:
    notes.next = 9
    notes.land(notes.discover(Record("s", {"v": "later"}, key="k")))
    assert counts(notes.land(notes.discover(Record("s", {"v": "earlier"}, key="k"), attempt=3))) == {}
    assert living(store) == [("k", {"v": "later"})]


def test_what_a_singer_tap_prints_lands_as_it_is(store: Store, notes: Attempts) -> None:
    printed = b"""\
{"type": "SCHEMA", "stream": "users", "schema": {"properties": {"id": {"type": "integer"}}}, "key_properties": ["id"]}
{"type": "RECORD", "stream": "users", "record": {"id": 1, "big": 123456789012345678901234567890, "\\u0000": "\\u0000"}}
not JSON
{"type": "RECORD", "stream": "users", "record": {"id": 2}, "time_extracted": "2026-01-01T00:00:00Z", "version": 3}
{"type": "STATE", "value": {"bookmarks": {"users": {"id": 2}}}}
"""
    landed = notes.land(replace(notes.discover(), lines=map(decode, printed.splitlines())))
    assert counts(landed) == {"new": 2, "rejected": 1}
    assert landed.malformed[0].startswith("line 3: ")
    assert store.cursor("notes") == {"bookmarks": {"users": {"id": 2}}}
    assert living(store)[0][1]["big"] == 123456789012345678901234567890
