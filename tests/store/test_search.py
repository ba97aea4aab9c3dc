"""What a search finds, whatever a person types, and while documents land."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.connector import Document
from farm.sqlite import open_reader
from farm.store.query import expression
from farm.store.ranking import Bounds
from farm.store.search import Hit, documents, holdings, search
from farm.store.store import Store
from tests.store.attempts import Attempts

LETTERS = {
    "ada": "Dear Ada, the engine is well-known and the Café is closed.",
    "bob": "Dear Bob, the machine is well and known to nobody.",
    "eve": "Résumé of Eve: engineering, machines; C++ & co.",
}


@pytest.fixture
def letters(store: Store, notes: Attempts) -> Store:
    for key, text in LETTERS.items():
        notes.hold(key, text, title=f"Letter to {key.title()}")
    return store


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("dear", {"ada", "bob"}),
        ("DEAR engine", {"ada"}),
        ('"the machine"', {"bob"}),
        ('"machine the"', set()),
        ("well-known", {"ada"}),
        ("well known", {"ada", "bob"}),
        ("machine", {"bob"}),
        ("machine*", {"bob", "eve"}),
        ("engine* -dear", {"eve"}),
        ('dear -"the engine"', {"bob"}),
        ("cafe", {"ada"}),
        ("CAFÉ", {"ada"}),
        ("resume", {"eve"}),
        ("letter", {"ada", "bob", "eve"}),
        ("letter -letter", set()),
        ("C++", {"eve"}),
        ("engine … is", {"ada"}),
        ('"unfinished the', set()),
        ('"the engine', {"ada"}),
        ("", set()),
        ("-dear", set()),
        ("** \" ( ) : ^ '", set()),
        ("title:dear", set()),
        ("dear OR zzz", set()),
        ("NEAR", set()),
        ("dear\x00 ada\udce9", {"ada"}),
    ],
)
def test_a_query_finds_what_a_person_means(letters: Store, query: str, found: set[str]) -> None:
    assert {hit.uri.removeprefix("file:///") for hit in search(letters.path, query)} == found


def test_the_title_counts_more_than_the_text(store: Store, notes: Attempts) -> None:
    notes.hold("text", "about zebras and other animals of the plain", title="Animals")
    notes.hold("title", "striped animals of the plain", title="Zebras")
    assert [hit.title for hit in search(store.path, "zebras")] == ["Zebras", "Animals"]


def test_a_hit_shows_where_the_words_stand(letters: Store) -> None:
    [hit] = search(letters.path, "engine", mark=("[", "]"))
    assert hit.snippet == "Dear Ada, the [engine] is well-known and the Café is closed."
    assert (hit.source, hit.uri, hit.title) == ("notes", "file:///ada", "Letter to Ada")
    assert hit.score < 0


def test_a_search_can_be_limited_to_a_source_and_read_in_pages(letters: Store) -> None:
    Attempts(letters, "other", first=100).hold("x", "Dear X")
    assert {hit.source for hit in search(letters.path, "dear")} == {"notes", "other"}
    assert [hit.source for hit in search(letters.path, "dear", source="other")] == ["other"]
    assert search(letters.path, "dear", source="none") == []
    pages = [search(letters.path, "dear", limit=1, offset=n)[0].doc_id for n in range(3)]
    assert pages == [hit.doc_id for hit in search(letters.path, "dear")]
    assert [row.key for row in documents(letters.path, source="notes", limit=2, offset=1)] == ["bob", "eve"]


@pytest.fixture
def many(store: Store, notes: Attempts) -> Store:
    """Thirty documents with the same word, the oldest of them with most of it; every third of another source."""
    other = Attempts(store, "other", first=1000)
    for n in range(30):
        (notes if n % 3 else other).hold(f"{n}", f"common words {'common ' * (30 - n)}", title=f"{n}")
    notes.hold("rare", "a needle")
    return store


def titles(hits: list[Hit]) -> list[int]:
    return [int(hit.title) for hit in hits]


def test_of_very_many_matches_the_newest_are_ranked_and_the_others_follow(many: Store) -> None:
    hits = search(many.path, "common", limit=100, bounds=Bounds(ranked=10))
    assert titles(hits[:10]) == list(range(20, 30))  # the best of the newest ten
    assert titles(hits[10:]) == list(reversed(range(20)))
    assert {hit.ranked_among for hit in hits} == {10}
    assert all(hit.snippet for hit in hits)
    assert all((hit.score < 0) == (hit in hits[:10]) for hit in hits)


@pytest.mark.parametrize("query", ["common", '"common words"', "common words -needle", "comm*"])
@pytest.mark.parametrize("source", [None, "notes", "other"])
@pytest.mark.parametrize("size", [3, 7])
def test_pages_show_every_match_once_also_beyond_what_is_ranked(
    many: Store, query: str, source: str | None, size: int
) -> None:
    whole = search(many.path, query, source=source, limit=100, bounds=Bounds(ranked=8))
    paged: list[Hit] = []
    while page := search(
        many.path, query, source=source, limit=size, offset=len(paged), bounds=Bounds(ranked=8)
    ):
        assert len(page) == size or len(paged) + len(page) == len(whole)
        paged += page
    assert paged == whole
    assert sorted(titles(whole)) == [
        n for n in range(30) if source is None or (source == "notes") == bool(n % 3)
    ]
    assert {hit.ranked_among for hit in whole} == {8}


def test_as_many_matches_as_are_ranked_are_all_ranked(many: Store) -> None:
    hits = search(many.path, "common", limit=100, bounds=Bounds(ranked=30))
    assert titles(hits) == list(range(30))
    assert {hit.ranked_among for hit in hits} == {None}
    assert [hit.score for hit in hits] == sorted(hit.score for hit in hits)
    assert [
        hit.ranked_among for hit in search(many.path, "common needle -words", bounds=Bounds(ranked=1))
    ] == []
    assert [hit.ranked_among for hit in search(many.path, "needle", bounds=Bounds(ranked=1))] == [None]


def test_a_search_of_a_connection_leaves_no_transaction_open(many: Store) -> None:
    with closing(open_reader(many.path)) as db:
        assert search(db, "common", bounds=Bounds(ranked=5))
        assert not db.in_transaction
        db.execute("BEGIN")
        assert search(db, "common", bounds=Bounds(ranked=5))
        assert db.in_transaction
        db.execute("COMMIT")


def test_holdings_say_what_each_source_has(letters: Store, notes: Attempts) -> None:
    notes.land(notes.extract("bob"))
    [held] = holdings(letters.path)
    assert (held.source, held.documents, held.deleted, held.units, held.records) == ("notes", 2, 1, 3, 0)
    assert held.bytes == sum(len(LETTERS[key].encode()) for key in ("ada", "eve"))


def test_a_hit_deep_in_a_long_text_is_shown_with_its_surroundings(store: Store, notes: Attempts) -> None:
    text = "filler words " * 20_000 + "here lies the Crème brûlée recipe " + "and more " * 10_000
    notes.hold("long", text)
    [hit] = search(store.path, "creme brul*", mark=("<", ">"))
    assert "<Crème>" in hit.snippet
    assert hit.snippet.startswith("…")
    assert hit.snippet.endswith("…")
    assert len(hit.snippet) < 300


@settings(max_examples=300, deadline=None)
@given(query=st.text(st.characters() | st.sampled_from('"*-^():+ANDORNEAR{} \x00'), max_size=40))
def test_no_query_is_an_error(anything: Path, query: str) -> None:
    for hit in search(anything, query):
        assert hit.doc_id


@settings(max_examples=100, deadline=None)
@given(words=st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=12), min_size=1, max_size=6))
def test_a_document_is_found_by_its_own_words(own: Attempts, words: list[str]) -> None:
    text = " ".join(words)
    phrase = '"' + " ".join(text.replace('"', " ").split()) + '"'
    own.hold("own", text)
    if expression(phrase):
        assert [hit.source for hit in search(own.store.path, phrase, source="own")] == ["own"]


@pytest.fixture(scope="module")
def own(anything: Path) -> Iterator[Attempts]:
    with Store.open(anything) as store:
        yield Attempts(store, "own", first=100)


@pytest.fixture(scope="module")
def anything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("search") / "store.db"
    with Store.open(path) as store:
        Attempts(store).hold("a", "and or near the quick brown fox 0 1 2")
    return path


def test_searching_goes_on_while_documents_land(store: Store, notes: Attempts) -> None:
    notes.hold("first", "needle")
    done = threading.Event()
    slowest = 0.0

    def look() -> None:
        nonlocal slowest
        db = open_reader(store.path)
        while not done.is_set():
            began = time.perf_counter()
            assert len(search(db, "needle")) == 1
            slowest = max(slowest, time.perf_counter() - began)
        db.close()

    looking = threading.Thread(target=look)
    looking.start()
    words = " ".join(f"word{n}" for n in range(300))
    for batch in range(10):
        store.land(
            [notes.extract(f"{batch}-{n}", Document(f"{batch}-{n}", f"{n} {words}")) for n in range(64)]
        )
    done.set()
    looking.join()
    assert slowest < 1.0  # 2–20 ms here; generous for a busy machine
