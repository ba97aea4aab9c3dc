"""What a person types, as an FTS5 expression. Pure; nothing a person can type is an error.

Words are all required; "a phrase" stands together; prefix* matches longer words; -word must not occur.
Everything else (hyphens, dots, brackets, lone quotes) is what the tokenizer makes of it: a separator.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from farm.lines import clean

MAX_TERMS = 64

_WORD = re.compile(r"[^\W_]+")
_TERM = re.compile(r'(-?)(?:"([^"]*)(?:"|$)|([^\s"]+))(\*?)')


@dataclass(frozen=True, slots=True)
class Term:
    """A word, or words that stand together; `prefix`: the last of them may go on."""

    text: str
    prefix: bool = False
    excluded: bool = False

    def __str__(self) -> str:
        quoted = self.text.replace('"', '""')
        return f'"{quoted}" *' if self.prefix else f'"{quoted}"'

    def words(self) -> list[Term]:
        """Each of its words for itself.

        >>> [str(word) for word in Term("well-known pre", prefix=True).words()]
        ['"well"', '"known"', '"pre" *']
        """
        *others, last = _WORD.findall(unicodedata.normalize("NFC", self.text)) or [self.text]
        return [*map(Term, others), Term(last, self.prefix)]


def terms(query: str) -> list[Term]:
    """The terms of a query, at most MAX_TERMS; what has no letter or digit is none.

    >>> [str(term) for term in terms('well-known "two words" pre* -not')]
    ['"well-known"', '"two words"', '"pre" *', '"not"']
    """
    found = []
    for minus, phrase, word, star in _TERM.findall(clean(query)):
        text = phrase or word
        prefix = bool(star) or (bool(word) and word.endswith("*"))
        if any(map(_indexed, text)):
            found.append(Term(text.rstrip("*") if word else text, prefix, bool(minus)))
    return found[:MAX_TERMS]


def expression(query: str) -> str:
    """The FTS5 expression of a query; empty when there is nothing to look for.

    >>> expression('mail "two words" -spam -"junk mail"')
    '("mail" AND "two words") NOT ("spam" OR "junk mail")'
    >>> expression('-only ...')
    ''
    """
    found = terms(query)
    return matching(
        (str(term) for term in found if not term.excluded), (str(term) for term in found if term.excluded)
    )


def matching(wanted: Iterable[str], unwanted: Iterable[str] = ()) -> str:
    """The expression for all that is wanted and nothing that is not; empty where nothing is wanted."""
    every, none = " AND ".join(wanted), " OR ".join(unwanted)
    return f"({every}) NOT ({none})" if every and none else every


def _indexed(character: str) -> bool:
    """What unicode61 takes for part of a word."""
    category = unicodedata.category(character)
    return category[0] in "LN" or category == "Co"
