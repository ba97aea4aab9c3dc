"""Keeps secrets out of messages, tracebacks and logs: known values, and what looks like one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

PREFIX = "FARM_SECRET_"
MASK = "***"
_SHORTEST = 4  # shorter values would mask half of every text

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


def in_environment() -> dict[str, str]:
    """Secrets by name, as FARM_SECRET_<NAME> gives them."""
    return {k.removeprefix(PREFIX): v for k, v in os.environ.items() if k.startswith(PREFIX)}


class Redactor:
    """Masks these values, and what looks like a secret."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._values = sorted({v for v in values if len(v) >= _SHORTEST}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """
        >>> Redactor(["hunter2x"])("login hunter2x at https://me:pw@host/ token=abc123")
        'login *** at https://me:***@host/ token=***'
        """
        for value in self._values:
            text = text.replace(value, MASK)
        for pattern, mask in _LOOKS_SECRET:
            text = pattern.sub(mask, text)
        return text
