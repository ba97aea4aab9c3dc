"""Headers of messages as people read them, whatever their mailer did to them.

The standard library's own reading of structured headers takes seconds for a few thousand addresses, and its depth
follows the parentheses in them. This one takes time in proportion to length, and the length is bounded.
"""

from __future__ import annotations

import re
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.utils import getaddresses

from connectors.files.charset import decode

_MOST_CHARS = 100_000
_MOST_ADDRESSES = 2_000
_WORD = re.compile(r"=\?[^?\s]+\?[bBqQ]\?[^?\s]*\?=")
_BETWEEN_WORDS = re.compile(r"(\?=)\s+(?==\?)")


def header(message: Message, name: str) -> str:
    """The first header of this name, decoded, on one line; empty where there is none."""
    wanted = name.lower()
    for key, raw in message.raw_items():
        if key.lower() == wanted:
            return readable(str(raw))
    return ""


def readable(raw: str) -> str:
    """A header's value with its encoded words decoded.

    >>> readable("=?utf-8?q?Gr=C3=BC=C3=9Fe?= to\\n all")
    'Grüße to all'
    """
    text = _octets(raw[:_MOST_CHARS])
    if "=?" in text:
        text = _words(_BETWEEN_WORDS.sub(r"\1 ", text))
    return " ".join(text.split())


def addresses(value: str) -> list[str]:
    """The addresses in a header's value, without the names; the value itself where there are none."""
    if value.count("(") > 100:  # comments within comments: nobody's address
        return [value[:1000]]
    found = [address for _, address in getaddresses([value]) if address]
    return found[:_MOST_ADDRESSES] or [value]


def _octets(raw: str) -> str:
    """Bytes beyond ASCII, which the parser keeps as surrogates, in whatever charset they are."""
    if raw.isascii():
        return raw
    text, _ = decode(raw.encode("utf-8", "surrogateescape"))
    return text


def _words(text: str) -> str:
    try:
        return _joined(text)
    except (HeaderParseError, ValueError):  # one of them is broken: each by itself, then
        return _WORD.sub(lambda word: _alone(word[0]), text)


def _alone(word: str) -> str:
    try:
        return _joined(word)
    except (HeaderParseError, ValueError):
        return word


def _joined(text: str) -> str:
    read = []
    for part, charset in decode_header(text):
        if isinstance(part, str):
            read.append(part)
        elif charset is None:
            read.append(part.decode("latin-1"))
        else:
            read.append(decode(part, declared=charset)[0])
    return "".join(read)
