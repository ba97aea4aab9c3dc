"""What a part of the store says of all of it: how common a term is, and which words begin so."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from functools import cached_property

from farm.store.query import Term

STRETCHES, STRETCH = 8, 128
"""Counted are the documents of so many stretches, evenly spread over the ids, of so many ids each."""
TEXTS, TEXT = 48, 4_096
"""Read are so many documents, evenly spread, so many characters of each."""
BEGINNINGS = 16
"""At most so many words stand for a beginning: those that most of the documents read have."""

_WORD = re.compile(r"[a-z0-9]+", re.IGNORECASE | re.ASCII)


class Sample:
    """Of a store whose last document has this id; used within one read transaction."""

    def __init__(self, db: sqlite3.Connection, last: int) -> None:
        self._db, self._last = db, last
        self._shares: dict[str, float] = {}
        starts = sorted({1 + n * last // STRETCHES for n in range(STRETCHES)})
        self._stretches = json.dumps([[start, start + STRETCH - 1] for start in starts])

    @cached_property
    def _counted(self) -> int:
        [(documents,)] = self._db.execute(
            "SELECT count(*) FROM json_each(?) AS s CROSS JOIN document_fts_docsize AS d"
            " ON d.id BETWEEN s.value ->> 0 AND s.value ->> 1",
            (self._stretches,),
        )
        return int(documents)

    @property
    def documents(self) -> float:
        """About how many documents the store has."""
        return self._counted / (STRETCHES * STRETCH) * self._last

    def share(self, term: Term) -> float:
        """Of the documents, about how many have this term: from 0 to 1.

        A word is counted by FTS5. With a phrase that would take long, for FTS5 goes on to the next document that has
        it, wherever that is; with a beginning too. They are looked for in texts.
        """
        *others, last = words = term.words()
        if last.prefix:
            return min([1.0, self.beginnings(last)[1], *map(self.share, others)])
        if not others:
            return self._counts(str(term))
        together = r"[\W_]+".join(re.escape(word.text) for word in words)
        looked = re.compile(rf"(?<![^\W_]){together}(?![^\W_])", re.IGNORECASE)
        read = sum(bool(looked.search(text)) for _, text in self._read) / max(1, len(self._read))
        return min([read, *map(self.share, words)])

    def _counts(self, word: str) -> float:
        if word not in self._shares:
            [(found,)] = self._db.execute(
                "SELECT count(*) FROM json_each(?) AS s CROSS JOIN document_fts AS f"
                " ON f.rowid BETWEEN s.value ->> 0 AND s.value ->> 1 WHERE document_fts MATCH ?",
                (self._stretches, word),
            )
            self._shares[word] = found / self._counted if self._counted else 0.0
        return self._shares[word]

    def share_of(self, source: str) -> float:
        """Of the documents read, how many are of this source: from 0 to 1."""
        return sum(of == source for of, _ in self._read) / max(1, len(self._read))

    @cached_property
    def _read(self) -> list[tuple[str, str]]:
        """Source and text."""
        return self._db.execute(
            "SELECT source, title || ' ' || substr(text, 1, ?) FROM document"
            " WHERE id IN (SELECT value FROM json_each(?)) AND deleted_at IS NULL",
            (TEXT, json.dumps([1 + n * self._last // TEXTS for n in range(TEXTS)])),
        ).fetchall()

    def beginnings(self, term: Term) -> tuple[list[Term], float]:
        """Terms that a document must have one of to be found by them instead; and how many words that begin so
        a document has.

        They are sound, for the tokenizer leaves ASCII as it is: what has one of them has a word that begins so. They
        are not all there are. None for a term that is not ASCII.
        """
        words = list(_WORD.finditer(term.text))
        if not term.text.isascii() or not words:
            return [], 0.0
        lead, start = term.text[: words[-1].start()], words[-1].group()
        looked = re.compile(rf"(?<![a-z0-9]){start}[a-z0-9]*", re.IGNORECASE | re.ASCII)
        had: Counter[str] = Counter()
        for _, text in self._read:
            had.update({word.lower() for word in looked.findall(text)})
        common = sorted(had, key=lambda word: (-had[word], word))[:BEGINNINGS]
        return [Term(lead + word) for word in common], had.total() / max(1, len(self._read))
