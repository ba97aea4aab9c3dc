"""Which of the documents that match come first. Rules, so that a search takes hardly longer in a larger store:

* Where few match, all of them are ranked by bm25, whatever their age. Where more do, the newest are ranked, which FTS5
  finds without going through the others.
* For each term that bm25 weighs it goes through every document that has the term. So of many matches only those terms
  are weighed that are rare enough, and a phrase that is too common is weighed by its words. Where more than half of the
  documents have every term, bm25 tells little, so fewer are ranked; where no term can be weighed, none: the newest come
  first.
* For a beginning (word*) FTS5 puts together what all the words that begin so have, before it gives one document. A
  common one is not weighed, and looked for by its commonest words; only where these find few, by all.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from farm.store.query import Term, matching
from farm.store.sample import Sample


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a search does."""

    ranked: int = 5_000
    """Of the documents that match at most so many are ranked, the newest. bm25 takes 2 µs for each."""
    common: int = 500
    """So many instead where no term tells much."""
    small: int = 20_000
    """Where the store has no more documents, every term is weighed but a beginning that is too common."""
    steps: int = 150_000
    """To weigh terms, bm25 goes through so many documents with a word, which takes 60 ns for one of 3 KB."""
    unsure: int = 64
    """So many documents are looked through for a beginning that their commonest words do not show."""


BOUNDS = Bounds()
TELLING = 0.5
"""What a larger share of the documents has, bm25 gives no weight to speak of beside what is rarer."""
PHRASE_STEPS, BEGINNING_STEPS = 7, 8
"""What, beside that, a document takes that has the words of a phrase, and each of its words that begin as asked."""
LOOKUP = 10
"""To look up a document's source takes so many times as long as to list one of the source's documents."""
UNSURE_BYTES = 16 * 1024
"""A longer document is not looked through."""


@dataclass(frozen=True, slots=True)
class Part:
    """Documents in their order with their scores, and an expression that finds them."""

    match: str
    scores: dict[int, float]


@dataclass(frozen=True, slots=True)
class Ranked:
    """The documents that come first. `among`: how many were ranked, where more match; 0: none could be."""

    part: Part
    among: int | None = None


class Ranking:
    """What one search finds, in order, within one read transaction."""

    def __init__(self, db: sqlite3.Connection, terms: list[Term], source: str | None, bounds: Bounds) -> None:
        self._db, self._source, self._bounds = db, source, bounds
        self._wanted = [term for term in terms if not term.excluded]
        self._excluded = [str(term) for term in terms if term.excluded]
        self._match = self._all_of(self._wanted)

    def page(self, limit: int, offset: int) -> tuple[list[Part], int | None]:
        """So many documents after the first `offset`, and among how many they were ranked, if not among all.

        Those that were not ranked follow the others, the newest first.
        """
        [(last,)] = self._db.execute("SELECT coalesce(max(id), 0) FROM document")
        quickly = last > self._bounds.small or any(term.prefix for term in self._wanted)
        ranked = self._rare_weighed(last) if quickly else self._all_weighed()
        scores = ranked.part.scores
        parts = [Part(ranked.part.match, dict(list(scores.items())[offset : offset + limit]))]
        missing = limit - len(parts[0].scores)
        if ranked.among is not None and missing:
            others = self._others(scores, missing, max(offset - len(scores), 0))
            parts.append(Part(self._match, dict.fromkeys(others, 0.0)))
        return parts, ranked.among

    def _all_weighed(self) -> Ranked:
        """By bm25 of all terms."""
        limit = self._bounds.ranked
        found = self._newest("rowid, rank", self._match, limit + 1)
        scores = dict(sorted(found[:limit], key=itemgetter(1)))
        return Ranked(Part(self._match, scores), limit if len(found) > limit else None)

    def _rare_weighed(self, last: int) -> Ranked:
        """By bm25 of the terms that are rare enough, where more match than are ranked."""
        sample = Sample(self._db, last)
        quick, others = self._quick(sample)
        if quick == self._match and last <= self._bounds.small:
            return self._all_weighed()
        weighed, limit = self._weighed(sample, others)
        if {str(term) for term in self._wanted} == set(weighed) and limit == self._bounds.ranked:
            return self._all_weighed()
        if quick == self._match and not self._many(sample, limit):
            return self._all_weighed()
        one_by_one = self._source is not None and (
            sample.share_of(self._source) ** 2 * sample.documents > LOOKUP * limit
        )
        ids = [id_ for (id_,) in self._newest("rowid", quick, limit + 1, one_by_one=one_by_one)]
        if len(ids) <= limit:
            return self._surely(quick, others, set(ids)) or self._all_weighed()
        ids.pop()
        if not weighed:
            return Ranked(Part(quick, dict.fromkeys(ids, 0.0)), 0)
        return Ranked(Part(quick, self._scores(matching(weighed), ids)), limit)

    def _many(self, sample: Sample, most: int) -> bool:
        """Whether more than so many may match. If they are fewer after all, the search takes longer."""
        if self._source is not None:
            sql = "SELECT count(*) FROM (SELECT 1 FROM document WHERE source = ? LIMIT ?)"
            [(held,)] = self._db.execute(sql, (self._source, most + 1))
            if held <= most:
                return False
        return all(sample.share(term) * sample.documents > most for term in self._wanted)

    def _quick(self, sample: Sample) -> tuple[str, list[Term]]:
        """An expression that finds nothing but what matches, quickly; and the terms that are in it as they are."""
        found, others = [], []
        for term in self._wanted:
            words, each_has = sample.beginnings(term) if term.prefix else ([], 0.0)
            if words and each_has * sample.documents * BEGINNING_STEPS > self._bounds.steps:
                found.append(f"({' OR '.join(map(str, words))})")
            else:
                found.append(str(term))
                others.append(term)
        return matching(found, self._excluded), others

    def _weighed(self, sample: Sample, terms: list[Term]) -> tuple[list[str], int]:
        """What bm25 has the time to weigh, the rarest first, and how many of the newest are worth ranking by it.

        A document that matches has all of it.
        """
        costs: dict[str, tuple[float, float]] = {}
        for term in terms:
            words = term.words()
            shares = [sample.share(word) for word in words]
            steps = min(shares) * sample.documents * (BEGINNING_STEPS if term.prefix else PHRASE_STEPS)
            if term.prefix or (len(words) > 1 and min(shares) <= TELLING and steps <= self._bounds.steps):
                costs[str(term)] = min(shares), steps
            else:
                costs |= {
                    str(word): (share, share * sample.documents)
                    for word, share in zip(words, shares, strict=True)
                }
        found, left, telling = [], float(self._bounds.steps), 1.0
        for name, (share, steps) in sorted(costs.items(), key=itemgetter(1)):
            if steps <= left and (share <= TELLING or telling > TELLING):
                found.append(name)
                left -= steps
                telling = min(telling, share)
        return found, self._bounds.ranked if telling <= TELLING else self._bounds.common

    def _surely(self, quick: str, others: list[Term], found: set[int]) -> Ranked | None:
        """All that match, where the terms without the common beginnings leave few to look through for these.

        Weighed are those terms. None: only FTS5 itself can tell, from all the words that begin so.
        """
        rest, limit = self._all_of(others), self._bounds.ranked
        if quick == self._match or not others:
            return None
        ids = [id_ for (id_,) in self._newest("rowid", rest, limit + 1)]
        unsure = [id_ for id_ in ids if id_ not in found]
        if len(ids) > limit or len(unsure) > self._bounds.unsure:
            return None
        texts = self._db.execute(
            "SELECT id, title, iif(bytes <= ?, text, NULL) FROM document"
            " WHERE id IN (SELECT value FROM json_each(?))",
            (UNSURE_BYTES, json.dumps(unsure)),
        ).fetchall()
        if any(text is None for _, _, text in texts):
            return None
        matches = found | (self._matching(texts) if texts else set())
        return Ranked(
            Part(f"({quick}) OR ({rest})", self._scores(rest, [id_ for id_ in ids if id_ in matches]))
        )

    def _matching(self, texts: list[tuple[int, str, str]]) -> set[int]:
        """The ids of the texts that match, by a small index of their own."""
        with closing(sqlite3.connect(":memory:")) as db:
            db.execute(  # as document_fts is (schema.sql)
                "CREATE VIRTUAL TABLE few USING fts5 (title, text, tokenize='unicode61 remove_diacritics 2')"
            )
            db.executemany("INSERT INTO few (rowid, title, text) VALUES (?, ?, ?)", texts)
            return {id_ for (id_,) in db.execute("SELECT rowid FROM few WHERE few MATCH ?", (self._match,))}

    def _scores(self, weighed: str, ids: list[int]) -> dict[int, float]:
        """These documents, all of which have what is weighed, the best first."""
        if not ids:
            return {}
        scores = dict.fromkeys(ids, 0.0)
        scores |= self._db.execute(
            "SELECT rowid, rank FROM document_fts WHERE document_fts MATCH ? AND rowid BETWEEN ? AND ?"
            " AND +rowid IN (SELECT value FROM json_each(?))",
            (weighed, min(ids), max(ids), json.dumps(ids)),
        ).fetchall()
        return dict(sorted(scores.items(), key=itemgetter(1)))

    def _newest(
        self, columns: str, match: str, most: int, *, one_by_one: bool = False
    ) -> list[tuple[Any, ...]]:
        """The newest that match, without sorting. `one_by_one`: look up the source of each."""
        return self._db.execute(
            f"SELECT {columns} FROM document_fts WHERE document_fts MATCH :match {self._of_source(one_by_one)}"
            " ORDER BY rowid DESC LIMIT :most",
            {"match": match, "source": self._source, "most": most},
        ).fetchall()

    def _others(self, ranked: Collection[int], most: int, skipped: int) -> list[int]:
        """Those that match and were not ranked, the newest first."""
        rows = self._db.execute(
            f"SELECT rowid FROM document_fts WHERE document_fts MATCH :match {self._of_source()}"
            " AND +rowid NOT IN (SELECT value FROM json_each(:ranked))"
            " ORDER BY rowid DESC LIMIT :most OFFSET :skipped",
            {
                "match": self._match,
                "source": self._source,
                "ranked": json.dumps(list(ranked)),
                "most": most,
                "skipped": skipped,
            },
        )
        return [id_ for (id_,) in rows]

    def _of_source(self, one_by_one: bool = False) -> str:
        if self._source is None:
            return ""
        if one_by_one:
            return "AND (SELECT source FROM document WHERE id = document_fts.rowid) = :source"
        return "AND +rowid IN (SELECT id FROM document WHERE source = :source)"

    def _all_of(self, terms: list[Term]) -> str:
        return matching(map(str, terms), self._excluded)
