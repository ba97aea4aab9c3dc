"""A snippet of a text too long for FTS5's own, which reads all of it: the place of the first word found."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from farm.store.query import Term

WIDTH = 160
_WORD = re.compile(r"[^\W_]+")


def excerpt(windows: Iterable[str], wanted: list[Term], mark: tuple[str, str] = ("", "")) -> str:
    """Some words around the first occurrence of a wanted word in these windows of a text; else how it begins.

    >>> excerpt(["nothing here", "then a Café by the sea"], [Term("cafe")], mark=("[", "]"))
    '…then a [Café] by the sea'
    """
    words = {folded(word) for term in wanted for word in _WORD.findall(term.text)}
    prefixes = tuple(
        folded(found[-1]) for term in wanted if term.prefix and (found := _WORD.findall(term.text))
    )
    beginning = ""
    for number, window in enumerate(windows):
        beginning = beginning or window
        for match in _WORD.finditer(window):
            word = folded(match.group())
            if word in words or (prefixes and word.startswith(prefixes)):
                return _around(window, match.start(), match.end(), mark, first=number == 0)
    short = " ".join(beginning[: 2 * WIDTH].split())
    return short[:WIDTH] + "…" if len(short) > WIDTH else short


def folded(word: str) -> str:
    """As the tokenizer folds it: no case, no diacritics."""
    if word.isascii():
        return word.lower()
    return "".join(c for c in unicodedata.normalize("NFKD", word.lower()) if not unicodedata.combining(c))


def _around(window: str, start: int, end: int, mark: tuple[str, str], *, first: bool) -> str:
    left, right = max(0, start - WIDTH // 2), min(len(window), end + WIDTH // 2)
    before, after = window[left:start], window[end:right]
    if left > 0:
        before = before.partition(" ")[2]
    if right < len(window):
        after = after.rpartition(" ")[0]
    text = f"{before}{mark[0]}{window[start:end]}{mark[1]}{after}"
    cut = "" if first and left == 0 else "…"
    return cut + " ".join(text.split()) + ("…" if right < len(window) else "")
