"""From bytes to parts: look what they are, give them to the reader of that family."""

from __future__ import annotations

from connectors.files.kinds import Family
from connectors.files.parts import Parts
from connectors.files.sniff import kind_of
from farm.connector import InvalidInput


def parts_of(data: bytes, path: str, *, ocr: str = "") -> Parts:
    """The content of a file of this path. Raises InvalidInput where nobody could read it."""
    kind = kind_of(data, path.rpartition("/")[2])
    match kind.family:
        case Family.RICH | Family.HTML | Family.XML | Family.MAIL:
            from connectors.files.rich import read_rich

            return read_rich(data, kind, ocr=ocr)
        case Family.IMAGE:
            if not ocr:
                raise InvalidInput("an image: reading it needs the option ocr")
            from connectors.files.rich import read_rich

            return read_rich(data, kind, ocr=ocr)
        case _:
            from connectors.files.plain import read_plain

            return read_plain(data, kind)
