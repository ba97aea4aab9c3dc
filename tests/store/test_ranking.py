"""What a search in a large store finds, by the bounds of small ones: against an oracle that reads all the texts."""

from __future__ import annotations

import random
import re
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.sqlite import open_reader
from farm.store.query import Term, terms
from farm.store.ranking import Bounds
from farm.store.search import Hit, search
from farm.store.store import Store
from tests.store.attempts import Attempts

WORDS = ("the", "of", "that", "there", "Thé", "thread", "car", "cart", "carbon", "dog", "dot", "numpy", "x")
OFTEN = (30, 25, 6, 2, 1, 1, 4, 3, 1, 5, 2, 1, 8)
DOCUMENTS = 150


@dataclass(frozen=True)
class Known:
    """A store, and what is in it: title, source and the words of title and text; the number is the title's last."""

    path: Path
    documents: list[tuple[str, list[str], list[str]]]

    def matching(self, query: str, source: str | None) -> set[int]:
        found = terms(query)
        return {
            n
            for n, (of, title, text) in enumerate(self.documents)
            if source in (None, of)
            and all((has(term, title) or has(term, text)) != term.excluded for term in found)
        }


def has(term: Term, words: list[str]) -> bool:
    """Whether these words have the term, one after the other, as a person would look for it."""
    looked = re.findall(r"\w+", plain(term.text))
    for n in range(len(words) - len(looked) + 1):
        *before, last = words[n : n + len(looked)]
        if before == looked[:-1] and (last.startswith(looked[-1]) if term.prefix else last == looked[-1]):
            return True
    return False


def plain(text: str) -> str:
    return text.lower().replace("é", "e")


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Known:
    path, chance = tmp_path_factory.mktemp("ranking") / "store.db", random.Random(8)
    documents = []
    with Store.open(path) as store:
        sources = {name: Attempts(store, name, first=first) for name, first in (("a", 1), ("b", 10_000))}
        for n in range(DOCUMENTS):
            words = chance.choices(WORDS, OFTEN, k=chance.randint(1, 12))
            title = [chance.choice(WORDS), str(n)]
            name = "a" if n % 4 else "b"
            sources[name].hold(f"{n}", " ".join(words), title=" ".join(title))
            documents.append((name, [plain(w) for w in title], [plain(w) for w in words]))
    return Known(path, documents)


words = st.sampled_from(WORDS)
terms_of_queries = st.one_of(
    words,
    st.tuples(words, words).map('"{0[0]} {0[1]}"'.format),
    st.sampled_from(["th*", "t*", "car*", "do*", "thé*", "tho*", "1*", '"of th"*', '"the ca"*']),
)
queries = st.lists(
    st.tuples(st.sampled_from(["", "", "", "-"]), terms_of_queries), min_size=1, max_size=3
).map(lambda found: " ".join(minus + term for minus, term in found))
narrow = st.builds(
    Bounds,
    ranked=st.integers(1, 30),
    common=st.integers(1, 20),
    small=st.sampled_from([0, 10_000]),
    steps=st.sampled_from([0, 50, 500, 100_000]),
    unsure=st.sampled_from([0, 3, 64]),
)


def numbers(hits: list[Hit]) -> list[int]:
    return [int(hit.title.split()[-1]) for hit in hits]


@settings(max_examples=400, deadline=None)
@given(query=queries, source=st.sampled_from([None, "a", "b"]), bounds=narrow, size=st.integers(1, 40))
def test_all_that_matches_is_found_once_whatever_the_bounds(
    known: Known, query: str, source: str | None, bounds: Bounds, size: int
) -> None:
    if all(term.excluded for term in terms(query)):
        return
    whole = search(known.path, query, source=source, limit=1_000, bounds=bounds)
    assert sorted(numbers(whole)) == sorted(known.matching(query, source))
    paged: list[Hit] = []
    while page := search(known.path, query, source=source, limit=size, offset=len(paged), bounds=bounds):
        paged += page
    assert paged == whole
    if not whole:
        return
    [among] = {hit.ranked_among for hit in whole}
    ranked = len(whole) if among is None else among
    scores = [hit.score for hit in whole]
    assert scores[:ranked] == sorted(scores[:ranked])
    assert set(scores[ranked:]) <= {0.0}
    assert numbers(whole[ranked:]) == sorted(numbers(whole[ranked:]), reverse=True) or "*" in query
    assert among is None or len(whole) > (among or bounds.common)


@settings(max_examples=200, deadline=None)
@given(query=queries, source=st.sampled_from([None, "a", "b"]), bounds=narrow)
def test_where_few_match_the_order_is_that_of_a_small_store(
    known: Known, query: str, source: str | None, bounds: Bounds
) -> None:
    found = search(known.path, query, source=source, limit=1_000, bounds=bounds)
    if "*" not in query and found and found[0].ranked_among is None:
        assert found == search(known.path, query, source=source, limit=1_000, bounds=Bounds())


def asked(path: Path, query: str, bounds: Bounds, limit: int = 1_000) -> tuple[list[Hit], list[str]]:
    """What a search finds, and the statements that it ran."""
    said: list[str] = []
    with closing(open_reader(path)) as db:
        db.set_trace_callback(said.append)
        return search(db, query, limit=limit, mark=("[", "]"), bounds=bounds), said


LARGE = Bounds(ranked=10, common=5, small=0, steps=10)
"""What the store is too large for."""


@pytest.mark.parametrize("query", ["the", "of", "the of", '"the of"', "the -numpy"])
def test_what_most_documents_have_is_not_weighed_and_the_newest_come_first(known: Known, query: str) -> None:
    hits, said = asked(known.path, query, LARGE)
    assert {hit.ranked_among for hit in hits} == {0}
    assert numbers(hits) == sorted(known.matching(query, None), reverse=True)
    assert all("[" in hit.snippet or hit.title.lower().startswith(("th", "of")) for hit in hits)
    assert not any("rank" in statement for statement in said)


def test_beside_it_the_rarer_word_is_weighed(known: Known) -> None:
    hits, _ = asked(known.path, "the x", Bounds(ranked=10, common=5, small=0, steps=1_000))
    assert {hit.ranked_among for hit in hits} == {10}
    assert sorted(numbers(hits[:10])) == sorted(known.matching("the x", None))[-10:]
    weights = {hit.doc_id: hit.score for hit in search(known.path, "x", limit=1_000)}
    assert [hit.score for hit in hits[:10]] == [weights[hit.doc_id] for hit in hits[:10]]


def test_what_most_documents_have_is_weighed_among_fewer_where_there_is_time(known: Known) -> None:
    for query in ("the", '"of the"'):
        hits, _ = asked(known.path, query, Bounds(ranked=10, common=5, small=0, steps=1_000))
        assert {hit.ranked_among for hit in hits} == {5}
        assert sorted(numbers(hits[:5])) == sorted(known.matching(query, None))[-5:]
        words = query.strip('"')
        weights = {hit.doc_id: hit.score for hit in search(known.path, words, limit=1_000)}
        assert [hit.score for hit in hits[:5]] == pytest.approx([weights[hit.doc_id] for hit in hits[:5]])


def test_a_rare_word_is_found_in_the_oldest_document_and_all_its_documents_are_ranked(known: Known) -> None:
    for n in (0, DOCUMENTS // 2):
        hits, _ = asked(known.path, f"{n}", LARGE)
        assert numbers(hits) == [n]
        assert {(hit.ranked_among, hit.score < 0) for hit in hits} == {(None, True)}


def test_a_common_beginning_is_looked_for_by_its_words(known: Known) -> None:
    hits, said = asked(known.path, "th*", LARGE, limit=5)
    assert {hit.ranked_among for hit in hits} == {0}
    assert numbers(hits) == sorted(known.matching("th*", None), reverse=True)[:5]
    assert all("[" in hit.snippet or hit.title.lower().startswith("th") for hit in hits)
    assert not any('"th" *' in statement for statement in said)


@pytest.mark.parametrize("source", [None, "b"])
def test_beside_a_rare_word_a_common_beginning_is_found_in_each_document(
    store: Store, notes: Attempts, source: str | None
) -> None:
    """Also where only one has that word of it, which no sample shows."""
    other = Attempts(store, "b", first=10_000)
    for n in range(100):
        text = "the them then" + (" needle" if n % 30 == 0 else "")
        (other if n % 2 else notes).hold(f"{n}", text, title=f"{n}")
    other.hold("100", "needle thistle", title="100")
    other.hold("101", "needle", title="101")
    other.hold("102", "thistle", title="102")
    bounds = Bounds(ranked=20, common=5, small=0, steps=10)
    found = {0, 30, 60, 90, 100} if source is None else {100}
    hits, said = asked(store.path, "needle th*", bounds)
    assert set(numbers(hits)) == {0, 30, 60, 90, 100}
    assert {hit.ranked_among for hit in hits} == {None}
    assert not any('"th" *' in statement for statement in said)
    assert all("[th" in hit.snippet for hit in hits if hit.title != "100")
    assert set(numbers(search(store.path, "needle th*", source=source, bounds=bounds))) == found
