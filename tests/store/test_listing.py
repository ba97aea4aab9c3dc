"""What a discover attempt means for what the store holds."""

from __future__ import annotations

import json
import time

from farm.connector import Document, Gone, Listing, State, Unchanged, Unit
from farm.core.job import RunType
from farm.lines import Malformed
from farm.store.search import documents, search
from farm.store.store import Store
from tests.store.attempts import Attempts, counts, names, rows, unit


def test_units_the_store_does_not_hold_in_this_version_are_children(store: Store, notes: Attempts) -> None:
    notes.hold("same", "x", "1")
    notes.hold("other", "y", "1", content_hash="abc")
    landed = notes.land(
        notes.discover(
            unit("same", "1"), unit("other", "2"), unit("new", "1", data={"a": [1]}), Listing(complete=True)
        )
    )
    assert counts(landed) == {"unchanged": 1}
    assert landed.complete
    assert names(landed.children) == [("other", "2"), ("new", "1")]
    assert len(landed.children) == 2
    assert [json.loads(child.payload) for child in landed.children] == [
        {"data": {}, "uri": "file:///other", "held": "abc"},
        {"data": {"a": [1]}, "uri": "file:///new", "held": ""},
    ]


def test_the_same_discover_again_names_the_children_again_and_changes_nothing(
    store: Store, notes: Attempts
) -> None:
    notes.hold("gone", "x")
    landing = notes.discover(unit("a"), unit("b"), Malformed("?"), Listing(complete=True))
    first = notes.land(landing)
    again = notes.land(landing)
    assert again.repeated
    assert counts(again) == counts(first) == {"deleted": 1, "rejected": 1}
    assert names(again.children) == names(first.children) == [("a", "1"), ("b", "1")]


def test_what_a_complete_listing_does_not_name_is_gone(store: Store, notes: Attempts) -> None:
    notes.hold("a", "alpha")
    notes.hold("b", "beta")
    other = Attempts(store, "other", first=500)
    other.hold("a", "alpha of another source")
    assert counts(notes.land(notes.discover(unit("a")))) == {"unchanged": 1}  # not complete: nothing is gone
    landed = notes.land(notes.discover(unit("a"), Listing(complete=True)))
    assert counts(landed) == {"unchanged": 1, "deleted": 1}
    assert search(store.path, "beta") == []
    assert len(search(store.path, "alpha")) == 2


def test_what_a_complete_listing_could_not_look_at_is_not_gone(store: Store, notes: Attempts) -> None:
    for key in ("a", "closed/b", "closed/sub/c", "closed", "closedish/d"):
        notes.hold(key, f"words of {key}")
    listing = notes.discover(
        unit("a"),
        Document(key="own", text="landed by the listing itself"),
        Listing(complete=True, unread=["closed/", "nowhere/"]),
    )
    landed = notes.land(listing)
    assert (landed.complete, landed.unread) == (True, ["closed/", "nowhere/"])
    assert counts(landed) == {"new": 1, "unchanged": 1, "deleted": 2}
    assert notes.land(listing).unread == landed.unread, "told again when it lands again"
    held = set(rows(store, "SELECT key FROM document WHERE deleted_at IS NULL"))
    assert held == {"a", "closed/b", "closed/sub/c", "own"}
    landed = notes.land(notes.discover(unit("a"), Listing(complete=True, unread=["closed/"])))
    assert counts(landed) == {"unchanged": 1}, "what the listing landed itself may have been found there"
    landed = notes.land(notes.discover(unit("a"), Listing(complete=True)))
    assert counts(landed) == {"unchanged": 1, "deleted": 3}


def test_what_is_gone_is_gone_though_the_clock_was_set_back_by_years(store: Store, notes: Attempts) -> None:
    notes.hold("a", "alpha")
    landed = notes.land(notes.discover(Listing(complete=True), started_at=time.time() - 3e8))
    assert counts(landed) == {"deleted": 1}


def test_a_unit_said_to_be_gone_is_gone(store: Store, notes: Attempts) -> None:
    notes.hold("a", "alpha")
    assert counts(notes.land(notes.discover(Gone("a"), Gone("never held")))) == {"deleted": 1}
    assert search(store.path, "alpha") == []
    assert counts(notes.land(notes.discover(Gone("a")))) == {}


def test_the_last_line_about_a_unit_holds(store: Store, notes: Attempts) -> None:
    notes.hold("a", "alpha")
    landed = notes.land(
        notes.discover(Gone("a"), unit("a", "2"), unit("b"), unit("b", "9"), unit("c"), Gone("c"))
    )
    assert counts(landed) == {}
    assert names(landed.children) == [("a", "2"), ("b", "9")]


def test_a_unit_landed_by_an_event_that_began_later_is_not_gone(store: Store, notes: Attempts) -> None:
    began = time.time()
    full = notes.discover(Listing(complete=True), started_at=began)  # it looked before the file was there
    notes.land(notes.extract("a", Document("a", "fresh"), started_at=began + 1))
    assert counts(notes.land(full)) == {}
    assert len(search(store.path, "fresh")) == 1


def test_a_unit_seen_by_an_event_that_began_later_is_not_gone(store: Store, notes: Attempts) -> None:
    began = time.time()
    notes.land(notes.extract("a", Document("a", "old but back"), started_at=began - 9))
    full = notes.discover(Listing(complete=True), started_at=began)
    notes.land(notes.discover(unit("a"), run_type=RunType.EVENT, started_at=began + 1))
    assert counts(notes.land(full)) == {}
    later = notes.discover(Listing(complete=True), started_at=began + 2)
    assert counts(notes.land(later)) == {"deleted": 1}


def test_a_late_attempt_cannot_bring_back_what_is_gone(store: Store, notes: Attempts) -> None:
    notes.hold("a", "alpha")
    slow = notes.extract("a", Document("a", "alpha again"), version="2")
    notes.land(notes.discover(Gone("a")))
    assert notes.land(slow).stale
    assert search(store.path, "alpha") == []
    landed = notes.land(notes.discover(unit("a", "2")))
    assert names(landed.children) == [("a", "2")]
    assert json.loads(next(iter(landed.children)).payload)["held"] == ""
    assert counts(notes.hold("a", "alpha again", "2")) == {"new": 1}


def test_a_move_renames_the_documents_and_reads_nothing_again(store: Store, notes: Attempts) -> None:
    notes.land(
        notes.extract(
            "in/old.mbox",
            Document("in/old.mbox#1", "hello", title="old", uri="file:///in/old.mbox#1"),
            Document("elsewhere", "world", title="Kept"),
            version="ino7",
            uri="file:///in/old.mbox",
        )
    )
    landed = notes.land(notes.discover(unit("out/new.mbox", "ino7"), Listing(complete=True)))
    assert counts(landed) == {"moved": 1}
    assert len(landed.children) == 0
    assert [(row.unit, row.key, row.uri, row.title) for row in documents(store.path)] == [
        ("out/new.mbox", "elsewhere", "file:///out/new.mbox", "Kept"),
        ("out/new.mbox", "out/new.mbox#1", "file:///out/new.mbox#1", "new"),
    ]
    assert [hit.uri for hit in search(store.path, "title: hello new")] == []
    assert [hit.uri for hit in search(store.path, "hello new")] == ["file:///out/new.mbox#1"]
    assert search(store.path, "hello old") == []
    assert counts(notes.land(notes.discover(unit("out/new.mbox", "ino7"), Listing(complete=True)))) == {
        "unchanged": 2
    }


def test_a_unit_that_vanished_before_it_was_read_is_read_where_it_is_now(
    store: Store, notes: Attempts
) -> None:
    notes.land(notes.extract("old", version="7"))
    landed = notes.land(notes.discover(unit("new", "7"), Gone("old")))
    assert counts(landed) == {}
    assert names(landed.children) == [("new", "7")]


def test_a_move_by_an_event_needs_both_of_its_lines(store: Store, notes: Attempts) -> None:
    notes.hold("a", "alpha", "ino1")
    landed = notes.land(notes.discover(Gone("a"), unit("b", "ino1"), run_type=RunType.EVENT))
    assert counts(landed) == {"moved": 1}
    assert [row.key for row in documents(store.path)] == ["b"]


def test_a_late_attempt_at_the_old_name_of_a_move_lands_nothing(store: Store, notes: Attempts) -> None:
    notes.hold("a", "alpha", "ino1")
    slow = notes.extract("a", Document("a", "alpha late"), version="ino1")
    notes.land(notes.discover(Gone("a"), unit("b", "ino1")))
    assert notes.land(slow).stale
    assert [row.key for row in documents(store.path)] == ["b"]


def test_units_that_share_a_version_are_read_again_instead_of_mixed_up(store: Store, notes: Attempts) -> None:
    notes.hold("a", "alpha", "v")
    notes.hold("b", "beta", "v")
    landed = notes.land(notes.discover(unit("c", "v"), unit("d", "v"), Listing(complete=True)))
    assert counts(landed) == {"deleted": 2}
    assert names(landed.children) == [("c", "v"), ("d", "v")]
    notes.hold("c", "gamma", "")
    landed = notes.land(notes.discover(unit("e", ""), Listing(complete=True)))
    assert counts(landed) == {"deleted": 1}
    assert names(landed.children) == [("e", "")]


def test_a_move_onto_a_name_that_died_and_back_again(store: Store, notes: Attempts) -> None:
    notes.hold("a", "alpha", "ino1")
    notes.hold("b", "beta", "ino2")
    notes.land(notes.discover(unit("a", "ino1"), Listing(complete=True)))
    assert counts(notes.land(notes.discover(unit("b", "ino1"), Listing(complete=True)))) == {"moved": 1}
    assert counts(notes.land(notes.discover(unit("a", "ino1"), Listing(complete=True)))) == {"moved": 1}
    assert [(row.key, row.uri) for row in documents(store.path)] == [("a", "file:///a")]
    assert len(search(store.path, "alpha")) == 1


def test_a_moved_document_may_take_the_name_that_another_leaves_in_the_same_move(
    store: Store, notes: Attempts
) -> None:
    notes.land(notes.extract("p", Document("p1", "from p"), version="ino1"))
    notes.land(notes.extract("q1", Document("q1", "from q"), version="ino2"))
    landed = notes.land(notes.discover(unit("q", "ino1"), unit("z", "ino2"), Listing(complete=True)))
    assert counts(landed) == {"moved": 2}
    assert [(row.key, row.unit) for row in documents(store.path)] == [("q1", "q"), ("z", "z")]
    assert [hit.snippet for hit in search(store.path, "p")] == ["from p"]


def test_a_source_that_was_moved_as_a_whole_gets_its_new_places(store: Store, notes: Attempts) -> None:
    notes.hold("a", "alpha", "ino1")
    landed = notes.land(notes.discover(Unit("a", "ino1", uri="file:///new/a"), Listing(complete=True)))
    assert counts(landed) == {"unchanged": 1}
    assert [hit.uri for hit in search(store.path, "alpha")] == ["file:///new/a"]
    assert rows(store, "SELECT uri FROM unit") == ["file:///new/a"]


def test_a_replay_reads_everything_again(store: Store, notes: Attempts) -> None:
    notes.hold("a", "alpha", content_hash="abc")
    landed = notes.land(notes.discover(unit("a"), Listing(complete=True), run_type=RunType.REPLAY))
    assert names(landed.children) == [("a", "1")]
    assert json.loads(next(iter(landed.children)).payload)["held"] == ""
    assert counts(landed) == {}


def test_the_cursor_lands_with_the_content_and_never_goes_back(store: Store, notes: Attempts) -> None:
    assert store.cursor("notes") is None
    notes.next = 10
    notes.land(notes.discover(State({"page": 1}), Document("a", "alpha"), State({"page": 2})))
    assert store.cursor("notes") == {"page": 2}
    notes.land(notes.discover(State({"page": 0}), attempt=3))
    assert store.cursor("notes") == {"page": 2}


def test_a_program_that_prints_documents_tells_what_happened_in_order(store: Store, notes: Attempts) -> None:
    landed = notes.land(notes.discover(Document("a", "alpha"), Document("b", "beta"), Gone("a")))
    assert counts(landed) == {"new": 2, "deleted": 1}
    assert [row.key for row in documents(store.path)] == ["b"]
    landed = notes.land(notes.discover(Gone("b"), Document("b", "beta two")))
    assert [row.key for row in documents(store.path)] == ["b"]
    assert len(search(store.path, "two")) == 1


def test_documents_printed_by_discover_are_gone_when_a_complete_listing_lacks_them(
    store: Store, notes: Attempts
) -> None:
    notes.hold("unit", "extracted")
    notes.land(notes.discover(Document("a", "alpha"), Document("b", "beta")))
    landed = notes.land(notes.discover(Document("a", "alpha"), unit("unit"), Listing(complete=True)))
    assert counts(landed) == {"unchanged": 2, "deleted": 1}
    assert [row.key for row in documents(store.path)] == ["a", "unit"]


def test_lines_that_discover_may_not_say_are_rejected(store: Store, notes: Attempts) -> None:
    landed = notes.land(
        notes.discover(Unit("", "1"), Gone(""), Unchanged("a"), Malformed("no JSON"), unit("a"))
    )
    assert landed.malformed == [
        "line 1: UNIT without a key",
        "line 2: GONE without a key",
        "line 3: UNCHANGED belongs to extract, not to discover",
        "line 4: no JSON",
    ]
    assert names(landed.children) == [("a", "1")]


def test_a_listing_of_a_hundred_thousand_units_is_compared_in_bulk(store: Store, notes: Attempts) -> None:
    many = 100_000
    landed = notes.land(notes.discover(*(unit(f"u{n}", data={"n": n}) for n in range(many))))
    assert len(landed.children) == many
    chunks = list(landed.children.chunks(1000))
    assert [len(chunk) for chunk in chunks] == [1000] * 100
    assert chunks[-1][-1].key == f"u{many - 1}"
    assert next(iter(landed.children)).key == "u0"  # it can be read again
    first, second, *_ = landed.children.chunks(1000, 7)
    assert (len(first), len(second), second[0].key) == (7, 1000, "u7")
    assert len(next(landed.children.chunks(3, 7))) == 3
