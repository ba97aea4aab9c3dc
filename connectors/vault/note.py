"""A note, read: its text, its parts, and what it links to, tags and asks to be done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from markdown_it.token import Token

from connectors.vault import properties
from connectors.vault.links import Target
from connectors.vault.syntax import is_tag_sign, parser
from farm.connector import Element

MOST_STRUCTURED = 2_000_000
"""Characters up to which a note is parsed; a longer one is a log or a dump, and lands as text alone."""

_PLAIN = {
    "text": "",
    "code_inline": "",
    "math_inline": "",
    "math_inline_double": "",
    "text_special": "",
}


@dataclass(frozen=True, slots=True)
class Link:
    """One link as it stands in the note. `kind`: wikilink, embed, markdown, property, canvas."""

    kind: str
    target: Target
    line: int


@dataclass(slots=True)
class Note:
    text: str
    properties: dict[str, Any] = field(default_factory=dict)
    fault: str = ""
    """What is wrong with the properties."""
    aliases: list[str] = field(default_factory=list)
    elements: list[Element] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    """By their name without case: as first written."""
    structured: bool = True

    def tag(self, name: str) -> None:
        self.tags.setdefault(name.casefold(), name)


def read_note(text: str) -> Note:
    """Everything that a note says."""
    block, lines = properties.block_of(text)
    note = Note(text)
    if block:
        note.properties, note.fault = properties.parse(block)
        note.aliases = properties.aliases_of(note.properties)
        for name in properties.tags_of(note.properties):
            if name.strip("/") and all(map(is_tag_sign, name)):
                note.tag(name.strip("/"))
        note.links += _in_properties(note.properties)
    body = text.split("\n", lines)[-1] if lines else text
    read_body(note, body, lines)
    return note


def read_body(note: Note, body: str, first_line: int = 0) -> None:
    """Add what this Markdown says."""
    if len(body) > MOST_STRUCTURED:
        note.structured = False
        return
    _Reader(note, body, first_line).read()


class _Reader:
    def __init__(self, note: Note, body: str, first_line: int) -> None:
        self.note, self.body, self.first_line = note, body, first_line
        self.callouts: list[dict[str, Any]] = []
        """Of the block quotes around: what kind of callout each is, if any."""
        self.items = 0
        """How many list items are around."""
        self.in_table = 0

    def read(self) -> None:
        tokens = parser().parse(self.body)
        for at, token in enumerate(tokens):
            match token.type:
                case "inline":
                    self._inline(token, tokens[at - 1])
                case "blockquote_open":
                    self.callouts.append(token.meta)
                case "blockquote_close":
                    self.callouts.pop()
                case "list_item_open":
                    self.items += 1
                case "list_item_close":
                    self.items -= 1
                case "table_open":
                    self.in_table += 1
                    self._add("Table", self._lines(token), token)
                case "table_close":
                    self.in_table -= 1
                case "fence" | "code_block":
                    self._add("CodeSnippet", token.content.rstrip("\n"), token, language=token.info.strip())
                case "math_block" | "math_block_label":
                    self._add("Formula", token.content.strip("\n"), token)
                case "comment_block":
                    self._add("Comment", token.content, token)

    def _inline(self, token: Token, before: Token) -> None:
        line = self.first_line + (token.map[0] if token.map else 0) + 1
        text = "".join(self._words(token.children or [], line)).strip()
        block = token.meta.get("block", "")
        if not text and block and self.note.elements:
            # A block id in a paragraph of its own is the id of what stands before it.
            self.note.elements[-1].metadata.setdefault("block", block)
            return
        if self.in_table:
            return  # the table has it
        if before.type == "heading_open":
            self._add("Title", text, token, level=int(before.tag[1:]), block=block)
        elif text or "task" in token.meta:
            kind = "ListItem" if self.items else "NarrativeText"
            self._add(kind, text, token, task=token.meta.get("task"), block=block)

    def _words(self, tokens: Sequence[Token], line: int) -> Iterator[str]:
        """The text as a reader sees it; links and tags are noted on the way."""
        for token in tokens:
            match token.type:
                case "wikilink" | "embed":
                    target = Target.of(token.content)
                    self.note.links.append(Link(token.type, target, line))
                    yield _shown(target)
                case "tag":
                    self.note.tag(token.content)
                    yield f"#{token.content}"
                case "softbreak" | "hardbreak":
                    line += 1
                    yield "\n"
                case "link_open" | "image":
                    address = token.attrGet("href") or token.attrGet("src")
                    target_ = _internal(str(address or ""))
                    if target_ is not None:
                        kind = "embed" if token.type == "image" else "markdown"
                        self.note.links.append(Link(kind, target_, line))
                    if token.type == "image":
                        yield token.content
                case kind if kind in _PLAIN:
                    yield token.content

    def _add(self, kind: str, text: str, token: Token, **about: Any) -> None:
        metadata = {key: value for key, value in about.items() if value not in (None, "")}
        if token.map:
            metadata["line"] = self.first_line + token.map[0] + 1
        callout = next((meta for meta in reversed(self.callouts) if "callout" in meta), None)
        if callout is not None:
            metadata["callout"] = callout["callout"]
        self.note.elements.append(Element(kind, text, metadata))

    def _lines(self, token: Token) -> str:
        if not token.map:
            return ""
        if not hasattr(self, "_split"):
            self._split = self.body.split("\n")
        return "\n".join(self._split[token.map[0] : token.map[1]]).strip()


def _shown(target: Target) -> str:
    if target.alias and not target.alias.replace("x", "").isdecimal():  # the size of an embedded picture
        return target.alias
    below = target.heading.replace("#", " > ")
    return " > ".join(part for part in (target.path, below) if part) or target.block


def _internal(address: str) -> Target | None:
    """The target of a Markdown link into the vault; None where it leads out of it.

    >>> _internal("My%20Note.md#Top"), _internal("https://a.b/c"), _internal("mailto:a@b.c")
    (Target(path='My Note.md', heading='Top', block='', alias=''), None, None)
    """
    head, colon, _ = address.partition(":")
    if (
        not address
        or address.startswith("//")
        or (colon and head.replace("+", "").replace("-", "").isalnum())
    ):
        return None
    return Target.of(unquote(address).replace("|", " "))


def _in_properties(found: dict[str, Any]) -> Iterator[Link]:
    for text in properties.texts(found):
        if text.startswith("[[") and text.endswith("]]") and "[[" not in text[2:] and text[2:-2].strip():
            yield Link("property", Target.of(text[2:-2]), 1)
