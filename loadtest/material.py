"""Real files for a folder source, made from what is installed: the text of Python's own manual, its library's
sources, and documents of several formats that hold it. The same for the same seed.
"""

from __future__ import annotations

import csv
import html
import io
import json
import os
import random
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics

Content = bytes


def files(kind: str, seed: str) -> Iterator[tuple[str, Content]]:
    """(name, content) without end. mixed: as many of each format as `MIXED` says, in turn; notes: Markdown."""
    chance = random.Random(f"{seed} {kind}")
    formats = MIXED if kind == "mixed" else ("md",)
    n = 0
    while True:
        format_ = formats[n % len(formats)]
        yield f"{kind}-{n:06}.{format_}", MAKERS[format_](f"{kind} {n}", _paragraphs(chance), chance)
        n += 1


def _paragraphs(chance: random.Random) -> list[str]:
    """A document's worth: 3 to 12 paragraphs of the manual."""
    text = _manual()
    start = chance.randrange(len(text) - 12)
    return text[start : start + chance.randint(3, 12)]


@cache
def _manual() -> list[str]:
    whole = "\n\n".join(topics[name] for name in sorted(topics))
    return [" ".join(part.split()) for part in whole.split("\n\n") if len(part) > 40]


@cache
def _modules() -> list[Path]:
    return sorted(p for p in Path(os.__file__).parent.glob("*.py") if p.stat().st_size < 60_000)


def _markdown(title: str, text: list[str], chance: random.Random) -> Content:
    parts = [f"## Part {n}\n\n{part}\n" for n, part in enumerate(text, 1)]
    return (f"# {title}\n\n" + "\n".join(parts)).encode()


def _plain(title: str, text: list[str], chance: random.Random) -> Content:
    return "\n\n".join([title, *text]).encode()


def _html(title: str, text: list[str], chance: random.Random) -> Content:
    body = "".join(f"<p>{html.escape(part)}</p>\n" for part in text)
    return f"<!doctype html><meta charset=utf-8><title>{title}</title><h1>{title}</h1>\n{body}".encode()


def _python(title: str, text: list[str], chance: random.Random) -> Content:
    return f"# {title}\n".encode() + chance.choice(_modules()).read_bytes()


def _csv(title: str, text: list[str], chance: random.Random) -> Content:
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(["nr", "text", "value"])
    writer.writerows((n, part[:80], round(chance.random(), 3)) for n, part in enumerate(text * 5))
    return out.getvalue().encode()


def _json(title: str, text: list[str], chance: random.Random) -> Content:
    return json.dumps({"title": title, "parts": text}, indent=1).encode()


def _mail(title: str, text: list[str], chance: random.Random) -> Content:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "one@example.org", "two@example.org", title
    mail["Date"] = "Sat, 01 Feb 2025 10:00:00 +0000"
    mail.set_content("\n\n".join(text))
    return mail.as_bytes()


def _docx(title: str, text: list[str], chance: random.Random) -> Content:
    from docx import Document

    document, out = Document(), io.BytesIO()
    document.add_heading(title)
    for part in text:
        document.add_paragraph(part)
    document.save(out)
    return out.getvalue()


def _xlsx(title: str, text: list[str], chance: random.Random) -> Content:
    from openpyxl import Workbook

    book, out = Workbook(), io.BytesIO()
    book.active.append([title])
    for n, part in enumerate(text):
        book.active.append([n, part[:200].lstrip("="), chance.random()])
    book.save(out)
    return out.getvalue()


def _pdf(title: str, text: list[str], chance: random.Random) -> Content:
    from fpdf import FPDF

    page = FPDF()
    page.add_page()
    page.set_font("helvetica", size=11)
    for part in [title, *text]:
        page.multi_cell(
            0, 6, part.encode("latin-1", "replace").decode("latin-1"), new_x="LMARGIN", new_y="NEXT"
        )
    return bytes(page.output())


MAKERS: dict[str, Callable[[str, list[str], random.Random], Content]] = {
    "md": _markdown,
    "txt": _plain,
    "html": _html,
    "py": _python,
    "csv": _csv,
    "json": _json,
    "eml": _mail,
    "docx": _docx,
    "xlsx": _xlsx,
    "pdf": _pdf,
}
MIXED = (
    *("md",) * 5,
    *("txt",) * 4,
    "html",
    "html",
    "py",
    "py",
    "csv",
    "json",
    "eml",
    "eml",
    "docx",
    "xlsx",
    "pdf",
)
"""Of twenty files, so many of each."""
