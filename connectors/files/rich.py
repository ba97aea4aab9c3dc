"""PDF, office documents, e-books and the like, by kreuzberg (the `documents` extra)."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from connectors.files.dates import timestamp
from connectors.files.kinds import Kind
from connectors.files.parts import Parts
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


def read_rich(data: bytes, kind: Kind, *, ocr: str = "") -> Parts:
    """What kreuzberg finds in these bytes; `ocr` names the languages to recognise in images, empty for none.

    Raises InvalidInput where the bytes are locked or damaged, MissingDependency without the library.
    """
    kreuzberg = _library(kind)
    try:
        result = kreuzberg.extract_bytes_sync(data, kind.mime, _config(ocr))
    except Exception as error:  # its core raises what it likes
        raise _explained(error, kind) from error
    parts = Parts(result.content.strip("\n\f "), mime=kind.mime)
    _metadata(parts, result.metadata)
    parts.elements = list(_elements(result))
    return parts


def _library(kind: Kind) -> Any:
    try:
        import kreuzberg
    except ImportError as error:
        raise MissingDependency(
            f"reading a {kind.label} needs kreuzberg: pip install 'connector-farm[documents]'"
        ) from error
    return kreuzberg


@cache
def _config(ocr: str) -> kreuzberg.ExtractionConfig:
    import kreuzberg

    return kreuzberg.ExtractionConfig(
        use_cache=False,
        enable_quality_processing=False,
        include_document_structure=True,
        pages=kreuzberg.PageConfig(extract_pages=False, insert_page_markers=False),
        # The farm gives a worker its cores; a thread pool of its own would take what others were given.
        concurrency=kreuzberg.ConcurrencyConfig(max_threads=1),
        ocr=kreuzberg.OcrConfig(backend="tesseract", language=ocr) if ocr else None,
    )


def _explained(error: Exception, kind: Kind) -> Exception:
    message = re.sub(r"^\w+Error: ", "", str(error)).strip()
    lower = message.lower()
    if isinstance(error, MemoryError):
        return error
    if "password" in lower or "encrypt" in lower:
        return InvalidInput("encrypted: needs a password")
    return InvalidInput(f"damaged {kind.label}: {message[:300]}")


def _metadata(parts: Parts, found: dict[str, Any]) -> None:
    found = dict(found)
    parts.title = (found.pop("title", None) or "").strip()
    parts.created_at = timestamp(found.pop("created_at", None))
    parts.modified_at = timestamp(found.pop("modified_at", None))
    for name, value in found.items():
        if value not in (None, "", [], {}):
            parts.metadata[name] = value


def _elements(result: Any) -> Any:
    for node in (result.document or {}).get("nodes", ()):
        content = node["content"]
        kind = content["node_type"]
        layer = node.get("content_layer") or "body"
        metadata = {"page": node["page"]} if node.get("page") else {}
        if kind == "table":
            yield Element("Table", _grid(content["grid"]), metadata)
        elif kind in _NAMES and content.get("text", "").strip():
            yield Element(_LAYERS.get(layer, _NAMES[kind]), content["text"], metadata)


def _grid(grid: dict[str, Any]) -> str:
    rows: list[list[str]] = [[""] * grid["cols"] for _ in range(grid["rows"])]
    for cell in grid["cells"]:
        rows[cell["row"]][cell["col"]] = cell["content"]
    return "\n".join("\t".join(row) for row in rows)
