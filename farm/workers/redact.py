"""Keeps secrets out of messages, tracebacks and logs: known values, and what looks like one."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

MASK = "***"
_SHORTEST = 4  # shorter values would mask half of every text
_SHORTEST_ENCODED = 8
_SHORTEST_LINE = 16

_LOOKS_SECRET = (
    (re.compile(r"(?i)\b(authorization\s*[:=]\s*)(?:(?:bearer|basic|token)\s+)?[^\s'\",;]+"), rf"\1{MASK}"),
    (re.compile(r"(?i)\b((?:bearer|token)\s+)[A-Za-z0-9._~+/=-]{12,}"), rf"\1{MASK}"),
    (
        re.compile(
            r"(?i)((?:password|passwd|secret|api[_-]?key|access[_-]?token|auth[_-]?token|token)"
            r"['\"]?\s*[=:]\s*['\"]?)[^\s'\",;&]+"
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^/\s:@]*:)[^/\s@]+@"), rf"\1{MASK}@"),
)


class Redactor:
    """Masks these values, as they are and as protocols write them, and what looks like a secret."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._known: set[str] = set()
        self._forms: list[str] = []
        for value in values:
            self.learn(value)

    def learn(self, value: str) -> None:
        """Mask this value from now on."""
        if value not in self._known:
            self._known.add(value)
            self._forms = sorted({*self._forms, *_forms(value)}, key=len, reverse=True)

    def values(self, text: str) -> str:
        """Mask the known values only: for text where a word that looks like one is somebody's own.

        >>> Redactor(["hunter2x"]).values("token=abc123, hunter2x")
        'token=abc123, ***'
        """
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return text

    def __call__(self, text: str) -> str:
        """
        >>> Redactor(["hunter2x"])("login hunter2x at https://me:pw@host/ token=abc123")
        'login *** at https://me:***@host/ token=***'
        """
        text = self.values(text)
        for pattern, mask in _LOOKS_SECRET:
            text = pattern.sub(mask, text)
        return text


def _forms(value: str) -> Iterator[str]:
    """The value as it stands in URLs, JSON, `repr` and base64, where others may stand around it."""
    if len(value) < _SHORTEST:
        return
    yield value
    yield quote(value, safe="")
    yield json.dumps(value)[1:-1]
    yield repr(value)[1:-1]
    yield from (line for line in value.splitlines() if len(line) >= _SHORTEST_LINE)
    raw = value.encode("utf-8", "surrogatepass")
    if len(raw) >= _SHORTEST_ENCODED:
        for before in range(3):  # "user:value" begins anywhere in a group of three bytes
            encoded = base64.b64encode(bytes(before) + raw)
            last = len(encoded) - (4 if (before + len(raw)) % 3 else 0)
            yield encoded[4 if before else 0 : last].decode()
