"""From bytes to parts: look what they are, give them to the reader of that family."""

from __future__ import annotations

from connectors.files.kinds import Family
from connectors.files.parts import Parts
from connectors.files.sniff import kind_of
from farm.connector import InvalidInput

MAX_TEXT_BYTES = 48_000_000
"""A document travels as one line of the protocol, and a line ends at 64 MiB."""


_ESCAPED_IN_JSON = dict.fromkeys([*range(32), ord('"'), ord("\\"), 127])


def parts_of(data: bytes, path: str, *, ocr: str = "") -> Parts:
    """The content of a file of this path. Raises InvalidInput where nobody could read it."""
    return bounded(_read(data, path, ocr))


def bounded(parts: Parts) -> Parts:
    """These parts, if a line of the protocol can hold them. Raises InvalidInput where not even their text fits."""
    size = _size(parts.text)
    if size > MAX_TEXT_BYTES:
        raise InvalidInput(f"too much text: {size / 1e6:,.0f} MB, and a document may hold 48 MB")
    if size + sum(_size(element.text) + 60 for element in parts.elements) > MAX_TEXT_BYTES:
        parts.elements = []
        parts.metadata["elements"] = "left out: too many"
    return parts


def _read(data: bytes, path: str, ocr: str) -> Parts:
    kind = kind_of(data, path.rpartition("/")[2])
    # Readers are imported when needed: a worker that reads notes never loads the library for PDFs.
    match kind.family:
        case Family.RICH:
            from connectors.files.rich import read_rich

            return read_rich(data, kind, ocr=ocr)
        case Family.IMAGE:
            if not ocr:
                raise InvalidInput("an image: reading it needs the option ocr")
            from connectors.files.rich import read_rich

            return read_rich(data, kind, ocr=ocr)
        case Family.HTML:
            from connectors.files.pages import read_page

            return read_page(data, kind)
        case Family.MAIL:
            from connectors.files.mail import read_mail

            return read_mail(data, kind)
        case Family.XML:
            from connectors.files.markup import read_xml

            return read_xml(data, kind)
        case _:
            from connectors.files.plain import read_plain

            return read_plain(data, kind)


def _size(text: str) -> int:
    """Bytes of this text as JSON, or something larger while that is little: no character takes more than six."""
    if len(text) < MAX_TEXT_BYTES // 100:
        return 6 * len(text)
    escaped = len(text) - len(text.translate(_ESCAPED_IN_JSON))
    return len(text.encode("utf-8", "replace")) + 5 * escaped
