"""HTML pages, by the standard library's tokenizer: whatever state the tags are in, no text is lost.

kreuzberg's plain rendering of HTML leaves out quotations, headers, captions and forms, and writes links and
emphasis as Markdown; a page's text is what a reader of the page sees.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

from connectors.files.dates import timestamp
from connectors.files.kinds import Kind
from connectors.files.markup import decoded
from connectors.files.parts import Parts
from farm.connector import Element

_HEADINGS = {f"h{n}": n for n in range(1, 7)}
_SILENT = frozenset({"script", "style", "template", "noscript", "svg"})
_BLOCKS = frozenset(
    {
        *_HEADINGS,
        "p",
        "div",
        "li",
        "tr",
        "td",
        "th",
        "table",
        "ul",
        "ol",
        "dl",
        "dt",
        "dd",
        "section",
        "article",
    }
    | {"header", "footer", "main", "nav", "aside", "blockquote", "pre", "figure", "figcaption", "hr", "body"}
    | {"form", "fieldset", "address", "caption", "option", "details", "summary", "legend", "label", "button"}
)
_BREAK = "\x0b"
_DATES = ("article:published_time", "date", "dc.date", "dcterms.created")


def read_page(data: bytes, kind: Kind, *, declared: str = "") -> Parts:
    """The page in these bytes; `declared` is the charset that came with them, if any did."""
    page = _Page()
    page.feed(decoded(data, declared=declared))
    page.close()
    page.finish()
    parts = Parts("\n\n".join(element.text for element in page.elements), title=page.title, mime=kind.mime)
    parts.elements = page.elements
    said = page.said
    for name in ("description", "keywords", "language"):
        if said.get(name):
            parts.metadata[name] = said[name]
    if said.get("author"):
        parts.metadata["authors"] = [said["author"]]
    parts.created_at = next((when for name in _DATES if (when := timestamp(said.get(name)))), None)
    return parts


class _Page(HTMLParser):
    """Collects blocks of text as elements while the parser walks the page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title = ""
        self.said: dict[str, str] = {}
        """What the page says of itself in its meta tags."""
        self.elements: list[Element] = []
        self._text: list[str] = []
        self._block = ""
        """The heading, list item or preformatted text that is open."""
        self._silent = 0
        self._tables = 0
        self._rows: list[str] = []
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SILENT:
            self._silent += 1
        elif tag == "title":
            self._in_title = not self.title and not self._silent
        elif tag == "br":
            self._text.append(_BREAK)
        elif tag == "meta":
            values = dict(attrs)
            name = (values.get("name") or values.get("property") or "").lower()
            self.said.setdefault(name, " ".join((values.get("content") or "").split()))
        elif tag == "html":
            self.said["language"] = dict(attrs).get("lang") or ""
        elif tag in _BLOCKS:
            self._end_block(tag)
            if tag == "table":
                self._end_table()
                self._tables += 1
            elif tag in _HEADINGS or tag in ("li", "pre"):
                self._block = tag

    def handle_endtag(self, tag: str) -> None:
        if tag in _SILENT:
            self._silent = max(0, self._silent - 1)
        elif tag == "title":
            self._in_title = False
        elif tag in _BLOCKS:
            self._end_block(tag)
            if tag == "table" and self._tables:
                self._end_table()
                self._tables -= 1
            if tag == self._block or tag in ("ul", "ol"):
                self._block = ""

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title = " ".join((self.title + data).split())[:500]
        elif not self._silent:
            self._text.append(data)

    def finish(self) -> None:
        self._end_block("table")
        self._end_table()
        self._tables = 0
        self._end_block("body")

    def _end_block(self, tag: str) -> None:
        if not self._tables:
            self._end_text()
        elif tag in ("td", "th"):
            self._text.append("\t")
        elif tag in ("tr", "table", "caption"):
            cells = [" ".join(cell.split()) for cell in "".join(self._text).split("\t")]
            self._text.clear()
            if row := "\t".join(cell for cell in cells if cell):
                self._rows.append(row)
        else:
            self._text.append(" ")

    def _end_table(self) -> None:
        if self._rows:
            self.elements.append(Element("Table", "\n".join(self._rows)))
            self._rows = []

    def _end_text(self) -> None:
        raw = "".join(self._text)
        self._text.clear()
        if self._block == "pre":
            text = raw.replace(_BREAK, "\n").strip("\n")
        else:
            text = "\n".join(" ".join(line.split()) for line in re.split(_BREAK, raw)).strip()
        if not text.strip():
            return
        if self._block in _HEADINGS:
            self.elements.append(Element("Title", text, {"level": _HEADINGS[self._block]}))
        else:
            kind = {"li": "ListItem", "pre": "CodeSnippet"}.get(self._block, "NarrativeText")
            self.elements.append(Element(kind, text))
