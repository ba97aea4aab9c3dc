"""Text out of XML and HTML: what their tags enclose, in order, whatever state the tags are in."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser

from connectors.files.charset import decode
from connectors.files.kinds import Kind
from connectors.files.parts import Parts
from farm.connector import Element

_NOT_CONTENT = re.compile(r"<!--.*?(?:-->|\Z)|<\?.*?(?:\?>|\Z)|<!DOCTYPE[^\[>]*(?:\[.*?\]\s*)?>", re.S | re.I)
_CDATA = re.compile(r"<!\[CDATA\[(.*?)(?:\]\]>|\Z)", re.S)
_TAG = re.compile(r"</?[A-Za-z_][^<>]*>")
_SPOKEN = re.compile(r"""[\s:](?:text|title|label|alt|description|summary)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_TITLE = re.compile(r"<(?:\w+:)?title[^<>]*>(.*?)</(?:\w+:)?title>", re.S)
_SPACE = re.compile(r"[ \t\xa0]+")
_DECLARED = re.compile(r"\A(\s*<\?xml[^>]*?)\s+encoding\s*=\s*(?:\"[^\"]*\"|'[^']*')", re.I)

_HEADINGS = {f"h{n}": n for n in range(1, 7)}
_SILENT = frozenset({"script", "style", "template", "noscript", "svg", "head"})
_BLOCKS = frozenset(
    {*_HEADINGS, "p", "div", "li", "tr", "table", "ul", "ol", "dl", "dt", "dd", "section", "article", "aside"}
    | {
        "header",
        "footer",
        "main",
        "nav",
        "blockquote",
        "pre",
        "figure",
        "figcaption",
        "br",
        "hr",
        "body",
        "td",
    }
    | {"th", "form", "fieldset", "address", "caption", "option", "title"}
)


def decoded(data: bytes, *, declared: str = "") -> str:
    """Markup as Unicode, without the charset declaration that is no longer true and without zero bytes."""
    text, _ = decode(data, markup=True, declared=declared)
    return _DECLARED.sub(r"\1", text.replace("\0", ""))


def read_xml(data: bytes, kind: Kind) -> Parts:
    """The text of an XML file, well-formed or not: feeds and exports often are not."""
    markup = decoded(data)
    title = _TITLE.search(markup[:100_000])
    text = strip_markup(markup)
    return Parts(text, title=strip_markup(title[1])[:300] if title else "", mime=kind.mime)


def strip_markup(markup: str) -> str:
    """What stands between the tags, and in the attributes that people read, a line each."""
    text = _CDATA.sub(r"\1", _NOT_CONTENT.sub("", markup))
    text = unescape(_TAG.sub(_spoken, text))
    if "<" in text:  # HTML inside, escaped or as CDATA
        text = unescape(_TAG.sub(_spoken, text))
    lines = (_SPACE.sub(" ", line).strip() for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def _spoken(tag: re.Match[str]) -> str:
    said = [double or single for double, single in _SPOKEN.findall(tag[0])] if "=" in tag[0] else []
    return "\n".join(["", *said, ""])


def read_html(data: bytes, kind: Kind) -> Parts:
    """An HTML page by the standard library alone."""
    page = _Page()
    page.feed(decoded(data))
    page.close()
    page.flush()
    parts = Parts("", title=page.title, mime=kind.mime, elements=page.elements)
    if page.author:
        parts.metadata["authors"] = [page.author]
    parts.text = "\n\n".join(element.text for element in page.elements)
    return parts


class _Page(HTMLParser):
    """Collects blocks of text as elements while the parser walks the page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title = ""
        self.author = ""
        self.elements: list[Element] = []
        self._text: list[str] = []
        self._within: list[str] = []
        self._silent = 0
        self._rows: list[str] | None = None
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "meta":
            values = dict(attrs)
            if (values.get("name") or "").lower() == "author":
                self.author = values.get("content") or ""
            return
        if tag == "body":  # a head left open
            self._silent = 0
        if tag in _SILENT:
            self._silent += 1
        elif tag == "title":
            self._in_title = not self.title
        elif tag in _BLOCKS:
            self._break(tag)
            if tag == "table":
                self.flush()
                self._rows = []
            elif tag in _HEADINGS or tag == "li":
                self._within = [tag]

    def handle_endtag(self, tag: str) -> None:
        if tag in _SILENT:
            self._silent = max(0, self._silent - 1)
        elif tag == "title":
            self._in_title = False
        elif tag in _BLOCKS:
            self._break(tag)
            if tag == "table" and self._rows is not None:
                if self._rows:
                    self.elements.append(Element("Table", "\n".join(self._rows)))
                self._rows = None
            self._within = []

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title = " ".join((self.title + data).split())
        elif not self._silent:
            self._text.append(data)

    def _break(self, tag: str) -> None:
        if self._rows is None:
            self.flush()
        elif tag in ("td", "th"):
            self._text.append("\t")
        elif tag in ("tr", "table"):
            row = "\t".join(" ".join(cell.split()) for cell in "".join(self._text).split("\t")).strip("\t")
            self._text.clear()
            if row:
                self._rows.append(re.sub("\t\t+", "\t", row))

    def flush(self) -> None:
        text = " ".join("".join(self._text).split())
        self._text.clear()
        if not text:
            return
        within = self._within[0] if self._within else ""
        if within in _HEADINGS:
            self.elements.append(Element("Title", text, {"level": _HEADINGS[within]}))
        else:
            self.elements.append(Element("ListItem" if within == "li" else "NarrativeText", text))
