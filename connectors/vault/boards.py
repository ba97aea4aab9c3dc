"""Canvases (JSON Canvas 1.0) and bases (YAML): what a person reads on them, and what they link to."""

from __future__ import annotations

import json
from typing import Any

from connectors.vault import properties
from connectors.vault.links import Target
from connectors.vault.note import Link, Note, read_body
from farm.connector import Element, InvalidInput

MOST_NODES = 50_000


def read_canvas(text: str) -> Note:
    """The texts of its cards, its groups and arrows; its files are links. Raises InvalidInput."""
    if not text.strip():
        return Note("")  # a new one
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidInput("damaged canvas: not JSON") from None
    if not isinstance(found, dict):
        raise InvalidInput("damaged canvas: not a table of nodes and edges")
    note, parts = Note(""), list[str]()
    for node in _rows(found, "nodes"):
        match node.get("type"):
            case "text" if isinstance(node.get("text"), str):
                parts.append(node["text"])
                read_body(note, node["text"])
            case "file" if isinstance(node.get("file"), str):
                subpath = node.get("subpath")
                below = subpath if isinstance(subpath, str) else ""
                note.links.append(Link("canvas", Target.of(f"/{node['file']}{below}"), 1))
                parts.append(f"[[{node['file']}{below}]]")
            case "link" if isinstance(node.get("url"), str):
                parts.append(node["url"])
            case "group" if isinstance(node.get("label"), str):
                parts.append(node["label"])
                note.elements.append(Element("Title", node["label"], {"level": 1}))
    for edge in _rows(found, "edges"):
        if isinstance(edge.get("label"), str):
            parts.append(edge["label"])
            note.elements.append(Element("NarrativeText", edge["label"], {"arrow": True}))
    note.text = "\n\n".join(parts)
    return note


def read_base(text: str) -> Note:
    """Its views and formulas, as they stand; what is not YAML is told and lands as text."""
    note = Note(text)
    note.properties, note.fault = properties.parse(text)
    views = note.properties.get("views")
    for view in views if isinstance(views, list) else ():
        if isinstance(view, dict) and view.get("name"):
            note.elements.append(Element("Title", str(view["name"]), {"view": str(view.get("type") or "")}))
    return note


def _rows(found: dict[str, Any], name: str) -> list[dict[str, Any]]:
    rows = found.get(name)
    if not isinstance(rows, list):
        return []
    if len(rows) > MOST_NODES:
        raise InvalidInput(f"a canvas of more than {MOST_NODES:,} {name}")
    return [row for row in rows if isinstance(row, dict)]
