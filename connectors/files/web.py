"""HTML pages: by kreuzberg where it is installed, by the standard library where it is not."""

from __future__ import annotations

from importlib.util import find_spec

from connectors.files.kinds import HTML, Kind
from connectors.files.markup import decoded, read_html
from connectors.files.parts import Parts
from connectors.files.rich import read_rich
from farm.connector import InvalidInput


def read_page(data: bytes, kind: Kind, *, declared: str = "") -> Parts:
    """The page in these bytes; `declared` is the charset that came with them, if any did."""
    markup = decoded(data, declared=declared).encode("utf-8", "replace")
    if find_spec("kreuzberg") is None:
        return read_html(markup, kind)
    try:
        parts = read_rich(markup, HTML)
    except InvalidInput:  # a page is never so broken that nothing of it can be read
        return read_html(markup, kind)
    parts.mime = kind.mime
    return parts
