"""What is looked up in office files themselves: list styles of DOCX, and OpenDocument that kreuzberg cannot read."""

from __future__ import annotations

import re
from html import unescape
from io import BytesIO
from zipfile import BadZipFile, ZipFile
from zlib import error as ZlibError

from connectors.files.kinds import Kind
from connectors.files.markup import strip_markup
from connectors.files.parts import Parts
from connectors.files.plain import paragraphs
from farm.connector import Element, InvalidInput

_MAX_XML_BYTES = 50_000_000
_PARAGRAPH = re.compile(r"<w:p[ >].*?</w:p>", re.S)
_LISTED = re.compile(r'<w:numPr>|<w:pStyle w:val="List(?!Continue|Table)', re.I)
_RUN = re.compile(r"<w:t(?: [^>]*)?>([^<]*)</w:t>")
_BLOCK_END = re.compile(r"</(?:text:p|text:h|table:table-row|draw:page)>")


def mark_list_items(data: bytes, elements: list[Element]) -> None:
    """Make ListItem of the paragraphs whose style, not whose numbering, says that they are in a list."""
    markup = _member(data, "word/document.xml")
    if not _LISTED.search(markup):
        return
    listed = {
        " ".join(unescape("".join(_RUN.findall(paragraph))).split())
        for paragraph in _PARAGRAPH.findall(markup)
        if _LISTED.search(paragraph)
    }
    for at, element in enumerate(elements):
        if element.type == "NarrativeText" and " ".join(element.text.split()) in listed:
            elements[at] = Element("ListItem", element.text, element.metadata)


def read_opendocument(data: bytes, kind: Kind) -> Parts:
    """Text of an OpenDocument file, paragraph by paragraph. Raises InvalidInput where it is damaged."""
    markup = _member(data, "content.xml")
    if not markup:
        raise InvalidInput(f"damaged {kind.label}: no content in it")
    body = markup[max(0, markup.find("<office:body")) :]
    text = strip_markup(_BLOCK_END.sub("\n\n", re.sub(r"</?text:(?:span|s|a)\b[^>]*>", " ", body)))
    described = _member(data, "meta.xml")
    parts = Parts(text, mime=kind.mime, elements=paragraphs(text.replace("\n", "\n\n")))
    for name, tag in (("title", "dc:title"), ("authors", "dc:creator"), ("subject", "dc:subject")):
        found = re.search(rf"<{tag}>([^<]*)</{tag}>", described)
        if found and name == "title":
            parts.title = unescape(found[1]).strip()
        elif found:
            parts.metadata[name] = [unescape(found[1])] if name == "authors" else unescape(found[1])
    return parts


def _member(data: bytes, name: str) -> str:
    """A file of the archive as text; empty where there is none or it is broken."""
    try:
        with ZipFile(BytesIO(data)) as archive, archive.open(name) as file:
            return file.read(_MAX_XML_BYTES).decode("utf-8", "replace")
    except (
        KeyError,
        BadZipFile,
        OSError,
        ValueError,
        NotImplementedError,
        RuntimeError,
        EOFError,
        ZlibError,
    ):
        return ""
