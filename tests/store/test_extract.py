"""What an extract attempt leaves in the store."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import pytest

from farm.connector import Document, Element, Log, Progress, State, Unchanged, Unit
from farm.lines import Malformed
from farm.store.search import document, documents, search
from farm.store.store import Store
from tests.store.attempts import Attempts, counts, rows


def test_a_landed_document_is_shown_whole(store: Store, notes: Attempts) -> None:
    landed = notes.land(
        notes.extract(
            "a.md",
            Document(
                "a.md",
                "The text",
                title="A title",
                mime="text/markdown",
                created_at=1.5,
                modified_at=2.5,
                metadata={"pages": 3, "tags": ["x"]},
                elements=[Element("Title", "A title"), Element("Table", "1 2", {"page": 2})],
                content_hash="abc",
            ),
            uri="file:///a.md",
            version="7",
        )
    )
    assert counts(landed) == {"new": 1}
    [row] = documents(store.path)
    assert (row.source, row.unit, row.key, row.uri, row.title) == (
        "notes",
        "a.md",
        "a.md",
        "file:///a.md",
        "A title",
    )
    assert (row.mime, row.bytes, row.created_at, row.modified_at) == ("text/markdown", 8, 1.5, 2.5)
    found = document(store.path, row.doc_id)
    assert found is not None
    assert (found.text, found.version, found.content_hash) == ("The text", "7", "abc")
    assert found.metadata == {"pages": 3, "tags": ["x"]}
    assert found.elements == [
        {"type": "Title", "text": "A title", "metadata": {}},
        {"type": "Table", "text": "1 2", "metadata": {"page": 2}},
    ]
    assert document(store.path, row.doc_id[:8]) == found
    assert document(store.path, "f" * 32) is None


def test_landing_the_same_attempt_again_changes_nothing(store: Store, notes: Attempts) -> None:
    landing = notes.extract("a", Document("a", "one"), Document("b", "two"), Malformed("no JSON"))
    first = notes.land(landing)
    before = rows(store, "SELECT * FROM outbox"), rows(store, "SELECT * FROM document")
    again = notes.land(replace(landing, lines=[Document("a", "something else")]))
    assert again.repeated
    assert not first.repeated
    assert counts(again) == counts(first) == {"new": 2, "rejected": 1}
    assert again.malformed == first.malformed == ["line 3: no JSON"]
    assert (rows(store, "SELECT * FROM outbox"), rows(store, "SELECT * FROM document")) == before


def test_the_same_content_from_a_later_attempt_is_unchanged_and_not_told_to_sinks(
    store: Store, notes: Attempts
) -> None:
    notes.hold("a", "same", metadata={"x": 1}, elements=[Element("Title", "same")])
    told = rows(store, "SELECT seq FROM outbox")
    landed = notes.hold("a", "same", version="2", metadata={"x": 1}, elements=[Element("Title", "same")])
    assert counts(landed) == {"unchanged": 1}
    assert rows(store, "SELECT version, fence FROM document") == [("2", 2)]
    assert rows(store, "SELECT seq FROM outbox") == told


@pytest.mark.parametrize(
    "change",
    [{"title": "new"}, {"metadata": {"x": 2}}, {"elements": [Element("Title", "same")]}, {"mime": "a/b"}],
)
def test_a_change_beside_the_text_is_a_change(
    store: Store, notes: Attempts, change: dict[str, object]
) -> None:
    notes.hold("a", "same")
    assert counts(notes.hold("a", "same", **change)) == {"changed": 1}


def test_what_a_unit_no_longer_gives_becomes_a_tombstone(store: Store, notes: Attempts) -> None:
    notes.land(notes.extract("mbox", *(Document(f"mbox#{n}", f"mail number{n}") for n in range(3))))
    landed = notes.land(notes.extract("mbox", Document("mbox#1", "mail number1"), Document("mbox#9", "new")))
    assert counts(landed) == {"new": 1, "unchanged": 1, "deleted": 2}
    assert search(store.path, "number0") == search(store.path, "number2") == []
    assert [row.key for row in documents(store.path)] == ["mbox#1", "mbox#9"]
    assert [row.key for row in documents(store.path, deleted=True)] == ["mbox#0", "mbox#2"]
    gone = document(store.path, documents(store.path, deleted=True)[0].doc_id)
    assert gone is not None
    assert (gone.text, gone.metadata, gone.elements) == ("", {}, [])
    assert rows(store, "SELECT documents FROM unit") == [2]


def test_a_document_that_comes_back_is_new_under_its_old_name(store: Store, notes: Attempts) -> None:
    notes.hold("a", "words")
    [doc_id] = rows(store, "SELECT doc_id FROM document")
    assert counts(notes.land(notes.extract("a"))) == {"deleted": 1}
    assert counts(notes.hold("a", "words")) == {"new": 1}
    assert [hit.doc_id for hit in search(store.path, "words")] == [doc_id]


def test_a_smaller_fence_never_overwrites_a_bigger_one(store: Store, notes: Attempts) -> None:
    notes.next = 10
    notes.hold("a", "the later truth", version="2")
    late = notes.land(notes.extract("a", Document("a", "an old belief"), attempt=5))
    assert late.stale
    assert counts(late) == {}
    assert search(store.path, "belief") == []
    assert rows(store, "SELECT version FROM unit") == ["2"]
    assert store.landed([5, 6, 10]) == {5, 10}


def test_two_units_never_fight_over_a_document(store: Store, notes: Attempts) -> None:
    notes.land(notes.extract("b", Document("shared", "from b"), attempt=9))
    landed = notes.land(notes.extract("a", Document("shared", "from a"), Document("own", "a"), attempt=5))
    assert counts(landed) == {"new": 1}
    assert [hit.snippet for hit in search(store.path, "from")] == ["from b"]


def test_a_batch_lands_in_order_even_when_it_touches_a_unit_twice(store: Store, notes: Attempts) -> None:
    first, second = (
        notes.extract("a", Document("a", "old"), Document("b", "b")),
        notes.extract("a", Document("a", "new")),
    )
    one, two, again = store.land([first, second, first])
    assert (counts(one), counts(two)) == ({"new": 2}, {"changed": 1, "deleted": 1})
    assert again.repeated
    assert len(search(store.path, "new")) == 1


def test_a_document_named_twice_by_one_attempt_counts_once_and_the_last_holds(
    store: Store, notes: Attempts
) -> None:
    landed = notes.land(notes.extract("a", Document("a", "first"), Document("a", "second")))
    assert counts(landed) == {"new": 1}
    assert [hit.snippet for hit in search(store.path, "second")] == ["second"]


def test_unchanged_notes_the_version_and_nothing_else(store: Store, notes: Attempts) -> None:
    notes.hold("a", "words", content_hash="abc")
    before = rows(store, "SELECT * FROM document")
    assert counts(notes.land(notes.extract("a", Unchanged("a"), version="2"))) == {"unchanged": 1}
    assert rows(store, "SELECT version, content_hash, uri FROM unit") == [("2", "abc", "file:///a")]
    assert rows(store, "SELECT * FROM document") == before


def test_unchanged_about_a_unit_the_store_does_not_hold_makes_none(store: Store, notes: Attempts) -> None:
    assert counts(notes.land(notes.extract("a", Unchanged("a"), version="2"))) == {}
    assert rows(store, "SELECT * FROM unit") == []


def test_a_units_content_hash_is_that_of_its_one_content(store: Store, notes: Attempts) -> None:
    notes.hold("one", "x", content_hash="abc")
    notes.land(notes.extract("two", Document("p", content_hash="1"), Document("q", content_hash="2")))
    assert rows(store, "SELECT key, content_hash FROM unit ORDER BY key") == [("one", "abc"), ("two", "")]


def test_bad_lines_are_counted_and_named_and_cost_no_good_one(store: Store, notes: Attempts) -> None:
    bad = [Malformed("no JSON"), Document("", "nameless"), Unit("u", "1"), State(1), Log("fine"), Progress(1)]
    landed = notes.land(notes.extract("a", Document("a", "good"), *bad, Document("b", "good too")))
    assert counts(landed) == {"new": 2, "rejected": 4}
    assert landed.malformed == [
        "line 2: no JSON",
        "line 3: DOCUMENT without a key",
        "line 4: UNIT belongs to discover, not to extract",
        "line 5: STATE belongs to discover, not to extract",
    ]
    many = notes.land(notes.extract("b", *[Malformed("no")] * 1000))
    assert (many.rejected, len(many.malformed)) == (1000, 20)


def test_what_raises_while_landing_leaves_nothing_of_the_batch(store: Store, notes: Attempts) -> None:
    def broken() -> Iterator[Document]:
        yield Document("b", "half")
        raise OSError("the spool cannot be read")

    with pytest.raises(OSError, match="spool"):
        store.land([notes.extract("a", Document("a", "whole")), replace(notes.extract("b"), lines=broken())])
    assert rows(store, "SELECT count(*) FROM document") == [0]
    assert store.landed(range(5)) == set()
    assert counts(notes.hold("a", "whole")) == {"new": 1}


def test_nul_and_lone_surrogates_land_cleaned(store: Store, notes: Attempts) -> None:
    odd = "before\x00after caf\udce9 end"
    notes.land(
        notes.extract(
            "k\x00ey\udce9",
            Document(
                "k\x00ey\udce9",
                odd,
                title=odd,
                uri=odd,
                mime=odd,
                metadata={odd: [odd]},
                elements=[Element(odd, odd, {odd: odd})],
                content_hash=odd,
            ),
            Malformed(odd),
            version=odd,
            uri=odd,
        )
    )
    [hit] = search(store.path, '"beforeafter caf end"')
    found = document(store.path, hit.doc_id)
    assert found is not None
    assert found.text == found.row.title == "beforeafter caf\ufffd end"
    [(text, metadata)] = rows(store, "SELECT text, metadata FROM element")
    assert text == found.text
    assert json.loads(metadata) == {found.text: found.text}


def test_memory_does_not_grow_with_what_an_attempt_found(store: Store, notes: Attempts) -> None:
    paragraph = "Landing reads its lines one after the other and writes them a chunk at a time. " * 40

    def lines() -> Iterator[Document]:
        for number in range(12_000):
            yield Document(f"big#{number}", f"{number} {paragraph}")

    tracemalloc.start()
    landed = notes.land(replace(notes.extract("big"), lines=lines()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert landed.new == 12_000
    assert peak < 30e6  # of 38 MB of text


def test_a_document_of_tens_of_megabytes_lands_and_is_found(store: Store, notes: Attempts) -> None:
    notes.hold("big", "lorem ipsum dolor sit amet " * 1_000_000 + " needle")
    [hit] = search(store.path, "needle")
    assert hit.snippet.startswith("lorem ipsum")
    assert len(hit.snippet) < 400
    notes.land(notes.extract("big"))
    assert search(store.path, "needle") == []
