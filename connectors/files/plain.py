"""Text that is its own content: plain text, source code, Markdown, CSV, JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.token import Token

from connectors.files.charset import decode
from connectors.files.kinds import Family, Kind
from connectors.files.parts import Parts
from farm.connector import Element

_ITEM = re.compile(r"^[ \t]*(?:[-*+•▪◦‣]|\d{1,3}[.)])[ \t]+\S", re.M)
_BLANK = re.compile(r"\n[ \t\f]*\n\s*")
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?\n)(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.S)
_ESCAPED = re.compile(r"\\u[0-9a-fA-F]{4}")
_MAX_STRUCTURED = 4_000_000
"""Characters up to which a text is also cut into elements; beyond, they would only double it."""


def read_plain(data: bytes, kind: Kind) -> Parts:
    """The text of these bytes, with the elements that its family has."""
    text, charset = decode(data)
    parts = Parts(text, mime=kind.mime)
    if charset != "utf-8":
        parts.metadata["charset"] = charset
    if len(text) > _MAX_STRUCTURED:
        return parts
    if kind.family is Family.MARKDOWN:
        _markdown(parts)
    elif kind.family is Family.CSV:
        parts.elements = [Element("Table", text.strip("\n"))]
    elif kind.family is Family.JSON:
        _readable(parts)
    elif kind.family is Family.TEXT:
        parts.elements = paragraphs(text)
    return parts


def paragraphs(text: str) -> list[Element]:
    """What stands between blank lines, list items by themselves."""
    elements: list[Element] = []
    for block in _BLANK.split(text.strip("\n\f ")):
        if not block.strip():
            continue
        if _ITEM.search(block) is None:
            elements.append(Element("NarrativeText", block.strip("\n")))
        else:
            elements.extend(_runs(block.strip("\n")))
    return elements


def _runs(block: str) -> Iterator[Element]:
    """A block with list items in it: each item with the indented lines that go on with it, and what is between."""
    kind, lines = "NarrativeText", list[str]()
    for line in block.split("\n"):
        if _ITEM.match(line):
            if lines:
                yield Element(kind, "\n".join(lines))
            kind, lines = "ListItem", [line.strip()]
        elif kind == "ListItem" and not line[:1].isspace():
            yield Element(kind, "\n".join(lines))
            kind, lines = "NarrativeText", [line]
        else:
            lines.append(line.strip() if kind == "ListItem" else line)
    yield Element(kind, "\n".join(lines))


def _readable(parts: Parts) -> None:
    r"""JSON that writes its letters as \uXXXX is searchable only once they are letters."""
    if _ESCAPED.search(parts.text):
        try:
            parts.text = json.dumps(json.loads(parts.text), ensure_ascii=False, indent=1)
        except (ValueError, RecursionError):
            return


@cache
def _blocks() -> MarkdownIt:
    """CommonMark and tables, blocks only: what stands inside a paragraph stays as it was written."""
    parser = MarkdownIt("commonmark").enable("table")
    parser.core.ruler.disable(["inline"])
    return parser


def _markdown(parts: Parts) -> None:
    text = parts.text
    front = _FRONT_MATTER.match(text)
    if front is not None:
        parts.metadata["front_matter"] = front[1]
        title = re.search(r"^title:[ \t]*[\"']?(.+?)[\"']?[ \t]*$", front[1], re.M)
        parts.title = title[1] if title else ""
        text = text[front.end() :]
    lines = text.split("\n")
    tokens = _blocks().parse(text)
    for at, token in enumerate(tokens):
        element = _element(token, tokens, at, lines)
        if element is not None:
            parts.elements.append(element)
            if element.type == "Title" and not parts.title:
                parts.title = element.text


def _element(token: Token, tokens: list[Token], at: int, lines: list[str]) -> Element | None:
    if token.type == "heading_open":
        return Element("Title", tokens[at + 1].content, {"level": int(token.tag[1:])})
    if token.type in ("fence", "code_block"):
        language = {"language": token.info} if token.info else {}
        return Element("CodeSnippet", token.content.rstrip("\n"), language)
    if token.type == "table_open" and token.map:
        return Element("Table", "\n".join(lines[token.map[0] : token.map[1]]).strip())
    if token.type == "inline" and tokens[at - 1].type == "paragraph_open":
        within = tokens[at - 2].type if at >= 2 else ""
        return Element("ListItem" if within == "list_item_open" else "NarrativeText", token.content)
    return None
