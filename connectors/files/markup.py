"""Text out of XML: what the tags enclose, in order, well-formed or not; and markup in Unicode for all who read it."""

from __future__ import annotations

import re
from html import unescape

from connectors.files.charset import decode
from connectors.files.kinds import Kind
from connectors.files.parts import Parts

_NOT_CONTENT = re.compile(r"<!--.*?(?:-->|\Z)|<\?.*?(?:\?>|\Z)|<!DOCTYPE[^\[>]*(?:\[.*?\]\s*)?>", re.S | re.I)
_CDATA = re.compile(r"<!\[CDATA\[(.*?)(?:\]\]>|\Z)", re.S)
_TAG = re.compile(r"</?[A-Za-z_][^<>]*>")
_SPOKEN = re.compile(r"""[\s:](?:text|title|label|alt|description|summary)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_TITLE = re.compile(r"<(?:\w+:)?title[^<>]*>(.*?)</(?:\w+:)?title>", re.S)
_SPACE = re.compile(r"[ \t\xa0]+")
_DECLARED = re.compile(r"\A(\s*<\?xml[^>]*?)\s+encoding\s*=\s*(?:\"[^\"]*\"|'[^']*')", re.I)


def decoded(data: bytes, *, declared: str = "") -> str:
    """Markup as Unicode, without the charset declaration that is no longer true."""
    text, _ = decode(data, markup=True, declared=declared)
    return _DECLARED.sub(r"\1", text)


def read_xml(data: bytes, kind: Kind) -> Parts:
    """The text of an XML file, well-formed or not: feeds and exports often are not."""
    markup = decoded(data)
    title = _TITLE.search(markup[:100_000])
    text = strip_markup(markup)
    return Parts(text, title=strip_markup(title[1])[:300] if title else "", mime=kind.mime)


def strip_markup(markup: str) -> str:
    """What stands between the tags, and in the attributes that people read, a line each."""
    text = _CDATA.sub(r"\1", _NOT_CONTENT.sub("", markup))
    text = unescape(_TAG.sub(_spoken, text))
    if "<" in text:  # HTML inside, escaped or as CDATA
        text = unescape(_TAG.sub(_spoken, text))
    lines = (_SPACE.sub(" ", line).strip() for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def _spoken(tag: re.Match[str]) -> str:
    said = [double or single for double, single in _SPOKEN.findall(tag[0])] if "=" in tag[0] else []
    return "\n".join(["", *said, ""])
