"""PDF, office documents, e-books and the like, by kreuzberg (the `documents` extra).

The text is kreuzberg's plain rendering, which keeps everything. Elements come from its document structure,
except where that says less than the format does: a PDF is cut at its pages, a presentation is rendered a
second time with its slide titles and tables, list styles of DOCX and what kreuzberg cannot read of
OpenDocument are looked up in the file itself (office.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from connectors.files import office
from connectors.files.dates import timestamp
from connectors.files.kinds import DOCX, MSG, ODP, ODS, ODT, PDF, PPTX, XLS, XLSB, XLSX, Kind
from connectors.files.ocr import missing_for, point_to
from connectors.files.parts import Parts
from connectors.files.plain import paragraphs
from farm.connector import Element, InvalidInput, MissingDependency

if TYPE_CHECKING:
    import kreuzberg

_NAMES = {
    "title": "Title",
    "heading": "Title",
    "paragraph": "NarrativeText",
    "list_item": "ListItem",
    "code": "CodeSnippet",
    "formula": "Formula",
    "quote": "NarrativeText",
    "footnote": "Footnote",
}
_LAYERS = {"header": "Header", "footer": "Footer", "footnote": "Footnote"}
_DESCRIPTION = (
    "authors subject keywords language description category publisher identifier created_by modified_by "
    "page_count slide_count sheet_names canonical_url from_email from_name to_emails cc_emails attachments"
)
_SHEETS = (XLSX, XLSB, XLS, ODS)
"""Their structure is their tables; as nodes, a cell each, a large sheet would take a gigabyte."""
_KEPT = _DESCRIPTION.split()
_BROKEN = re.compile(
    r"zip archive|checksum|deflate|formaterror|cfb error|unexpected e(?:nd|of)|end of (?:file|stream)|trailer"
    r"|malformed (?:directory|fat|minifat|difat)|difat refers|whole buffer|no page boundaries|not found in"
)
_MARKS = re.compile(r"!\[[^\]]*\]\([^)]*\)|</?u>|\*\*")
_PREFIX = re.compile(r"^(?:\w+Error: |[\w ]*(?:failed|error)(?: to [\w ]+)?: )+", re.I)


def read_rich(data: bytes, kind: Kind, *, ocr: str = "") -> Parts:
    """What kreuzberg finds in these bytes; `ocr` names the languages to recognise in images, empty for none.

    Raises InvalidInput where the bytes are locked or damaged, MissingDependency without the library.
    """
    if kind is ODP:  # the one office format that kreuzberg leaves out
        return office.read_opendocument(data, kind)
    try:
        result = _run(data, kind, ocr, "plain")
    except (InvalidInput, MissingDependency) as error:
        if kind in (ODT, ODS) and not str(error).startswith("encrypted"):
            return office.read_opendocument(data, kind)
        raise
    parts = Parts(_lines(result.content), mime=kind.mime)
    _describe(parts, result.metadata)
    if kind is PDF:
        parts.elements = list(_pages(result))
        if not parts.text:
            parts.metadata["scanned"] = True  # pages without a letter in them: only ocr can read them
    elif kind in _SHEETS:
        parts.elements = list(_sheets(result))
    else:
        parts.elements = list(_nodes(result)) if kind is not PPTX else _slides(data, kind, ocr)
    if kind is DOCX:
        office.mark_list_items(data, parts.elements)
    if kind is MSG:
        parts.title = " ".join((result.metadata.get("subject") or "").split())
    if not parts.title:
        parts.title = _first_title(parts.elements) if kind in (DOCX, PPTX, ODT) else ""
    return parts


def _run(data: bytes, kind: Kind, ocr: str, rendering: str) -> Any:
    try:
        import kreuzberg
    except ImportError as error:
        raise MissingDependency(
            f"reading a {kind.label} needs kreuzberg: pip install 'connector-farm[documents]'"
        ) from error
    if ocr:
        point_to(ocr)
    try:
        structure = kind is not PDF and kind not in _SHEETS
        return kreuzberg.extract_bytes_sync(data, kind.mime, _config(ocr, rendering, structure))
    except BaseException as error:
        # A panic of its Rust core, on some damaged files, is a BaseException of a class nobody can import.
        if isinstance(error, MemoryError):
            raise
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise _explained(error, kind, ocr) from error
        raise


@cache
def _config(ocr: str, rendering: str, structure: bool) -> kreuzberg.ExtractionConfig:
    import kreuzberg

    return kreuzberg.ExtractionConfig(
        use_cache=False,
        enable_quality_processing=False,
        include_document_structure=structure,
        output_format=rendering,
        pages=kreuzberg.PageConfig(extract_pages=False, insert_page_markers=False),
        # The farm gives a worker its cores; a thread pool of its own would take what others were given.
        concurrency=kreuzberg.ConcurrencyConfig(max_threads=1),
        ocr=kreuzberg.OcrConfig(backend="tesseract", language=ocr) if ocr else None,
    )


def _explained(error: BaseException, kind: Kind, ocr: str) -> Exception:
    message = str(error)
    lower = message.lower()
    if "password" in lower or "encrypt" in lower:
        return InvalidInput("encrypted: needs a password")
    if ocr and "tesseract" in lower and (why := missing_for(ocr)):
        return MissingDependency(why)
    if not isinstance(error, Exception) or _BROKEN.search(lower):
        return InvalidInput(f"damaged {kind.label}: cut short or overwritten")
    if "security limit" in lower:
        return InvalidInput(f"damaged {kind.label}: it unpacks to far more than it should")
    if "boundary count" in lower:
        return InvalidInput(f"damaged {kind.label}: some of its pages are missing")
    return InvalidInput(f"damaged {kind.label}: {_PREFIX.sub('', message).strip()[:200]}")


def _describe(parts: Parts, found: dict[str, Any]) -> None:
    parts.title = " ".join((found.get("title") or "").split())
    parts.created_at = timestamp(found.get("created_at"))
    parts.modified_at = timestamp(found.get("modified_at"))
    for name in _KEPT:
        if found.get(name) not in (None, "", [], {}, 0):
            parts.metadata[name] = found[name]
    pages = found.get("pages") or {}
    if pages.get("unit_type") == "slide" and pages.get("total_count"):
        parts.metadata["slide_count"] = pages["total_count"]


def _pages(result: Any) -> Iterator[Element]:
    """A PDF's text, page by page; its tables after it."""
    content = result.content.encode()
    boundaries = (result.metadata.get("pages") or {}).get("boundaries") or [
        {"byte_start": 0, "byte_end": len(content), "page_number": 1}
    ]
    for page in boundaries:
        text = content[page["byte_start"] : page["byte_end"]].decode("utf-8", "replace")
        for element in paragraphs(_lines(text)):
            yield Element(element.type, element.text, {"page": page["page_number"]})
    for table in result.tables:
        yield Element("Table", "\n".join("\t".join(row) for row in table.cells), {"page": table.page_number})


def _sheets(result: Any) -> Iterator[Element]:
    names = result.metadata.get("sheet_names") or []
    for at, table in enumerate(result.tables):
        if len(names) == len(result.tables):
            yield Element("Title", names[at], {"level": 2})
        text = "\n".join("\t".join(row) for row in table.cells)
        if text.strip():
            yield Element("Table", text)


def _slides(data: bytes, kind: Kind, ocr: str) -> list[Element]:
    """Only the Markdown rendering knows titles and tables of slides; what it adds of Markdown is taken off."""
    elements = []
    for element in _nodes(_run(data, kind, ocr, "markdown")):
        text = _MARKS.sub("", element.text)
        if text.strip():
            elements.append(Element(element.type, text, element.metadata))
    return elements


def _nodes(result: Any) -> Iterator[Element]:
    for node in (result.document or {}).get("nodes", ()):
        content = node["content"]
        kind = content["node_type"]
        layer = node.get("content_layer") or "body"
        metadata = {"page": node["page"]} if node.get("page") else {}
        if kind == "table":
            text = _grid(content["grid"])
            if text.strip():
                yield Element("Table", text, metadata)
        elif kind in _NAMES and (content.get("text") or "").strip():
            if "level" in content:
                metadata["level"] = content["level"]
            yield Element(_LAYERS.get(layer, _NAMES[kind]), _lines(content["text"]), metadata)


def _grid(grid: dict[str, Any]) -> str:
    rows: list[list[str]] = [[""] * grid["cols"] for _ in range(grid["rows"])]
    for cell in grid["cells"]:
        if cell["row"] < grid["rows"] and cell["col"] < grid["cols"]:
            rows[cell["row"]][cell["col"]] = cell["content"]
    return "\n".join("\t".join(row) for row in rows)


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").strip("\n\f ")


def _first_title(elements: list[Element]) -> str:
    return next((element.text[:300] for element in elements[:20] if element.type == "Title"), "")
