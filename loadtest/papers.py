"""A folder of small real documents: passages of what is at hand after installation, as files of six kinds.

The passages come from the descriptions that installed packages bring, from Python's own language reference
(`pydoc_data`) and from this project's documentation. A seed chooses which go into which file, so no two files are
alike and the same seed gives the same folder.
"""

from __future__ import annotations

import importlib
import io
import random
import re
from collections.abc import Sequence
from email.message import EmailMessage
from email.utils import format_datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

MIX = {"md": 0.40, "txt": 0.20, "html": 0.15, "eml": 0.13, "docx": 0.06, "pdf": 0.06}
"""Kind → share of the files."""
MEDIAN_BYTES = 3_000
MOST_BYTES = 30_000
FOLDERS = 40
PLACES = ("Report", "Letter", "Minutes", "Notes", "Draft", "Summary", "Manual", "Answer")

Passages = list[list[str]]
"""For each text its paragraphs."""


def lay_down(folder: Path, count: int, seed: str = "papers") -> int:
    """Write so many documents below the folder; how many bytes they have together."""
    chance = random.Random(seed)
    texts = passages()
    kinds = [kind for kind, share in MIX.items() for _ in range(round(count * share))]
    kinds = (kinds + ["md"] * count)[:count]
    chance.shuffle(kinds)
    size = 0
    for number, kind in enumerate(kinds):
        title = f"{chance.choice(PLACES)} {number}"
        data = _WRITERS[kind](title, _some(texts, chance), number)
        path = folder / f"{number % FOLDERS:02}" / f"{title.lower().replace(' ', '-')}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        size += len(data)
    return size


def passages() -> Passages:
    """Everything that is at hand, in an order that does not depend on the disk's."""
    found = {f"package {d.name}": d.metadata.json.get("description", "") for d in distributions()}
    topics = importlib.import_module("pydoc_data.topics").topics
    found |= {f"python {name}": text for name, text in topics.items()}
    root = Path(__file__).resolve().parents[1]
    found |= {
        f"farm {path.name}": path.read_text() for path in [*root.glob("*.md"), *root.glob("docs/**/*.md")]
    }
    split = (
        [p.strip() for p in re.split(r"\n\s*\n", str(found[name])) if p.strip()] for name in sorted(found)
    )
    return [text for text in split if len(text) >= 3]


def _some(texts: Passages, chance: random.Random) -> list[str]:
    """Paragraphs that follow each other in one text or, when it is short, in several."""
    wanted = min(MOST_BYTES, chance.lognormvariate(0, 0.7) * MEDIAN_BYTES)
    taken: list[str] = []
    size = 0
    while size < wanted:
        text = chance.choice(texts)
        for paragraph in text[chance.randrange(len(text)) :]:
            taken.append(paragraph[:MOST_BYTES])
            size += len(taken[-1])
            if size >= wanted:
                break
    return taken


def _markdown(title: str, paragraphs: Sequence[str], number: int) -> bytes:
    return "\n\n".join([f"# {title}", *paragraphs, ""]).encode()


def _plain(title: str, paragraphs: Sequence[str], number: int) -> bytes:
    return "\n\n".join([title, *paragraphs, ""]).encode()


def _html(title: str, paragraphs: Sequence[str], number: int) -> bytes:
    body = MarkdownIt().render("\n\n".join([f"# {title}", *paragraphs]))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>\n'
        f'<body><nav><a href="/">Home</a> <a href="/{number + 1}">Next</a></nav>\n<main>{body}</main>\n'
        f"<footer>Page {number}</footer></body></html>\n"
    ).encode()


def _mail(title: str, paragraphs: Sequence[str], number: int) -> bytes:
    from datetime import UTC, datetime, timedelta

    mail = EmailMessage()
    mail["Subject"] = title
    mail["From"] = f"Ada Crane <ada{number % 17}@example.org>"
    mail["To"] = "Bo Finch <bo@example.org>"
    mail["Date"] = format_datetime(datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=number))
    mail["Message-ID"] = f"<{number}@example.org>"
    mail.set_content("\n\n".join(["Dear Bo,", *paragraphs, "Ada", ""]))
    if number % 2:
        mail.add_alternative(_html(title, paragraphs, number).decode(), subtype="html")
    return mail.as_bytes()


def _docx(title: str, paragraphs: Sequence[str], number: int) -> bytes:
    docx: Any = importlib.import_module("docx")
    document = docx.Document()
    document.core_properties.title = title
    document.add_heading(title, level=1)
    for paragraph in paragraphs:
        document.add_paragraph(_printable(paragraph))
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def _pdf(title: str, paragraphs: Sequence[str], number: int) -> bytes:
    fpdf: Any = importlib.import_module("fpdf")
    pdf = fpdf.FPDF()
    pdf.set_title(title)
    pdf.add_page()
    pdf.set_font("helvetica", size=11)
    for paragraph in (title, *paragraphs):
        latin = _printable(paragraph).encode("latin-1", "replace").decode("latin-1")
        pdf.multi_cell(0, 5, latin + "\n", new_x="LMARGIN", new_y="NEXT", wrapmode="CHAR")
    return bytes(pdf.output())


def _printable(text: str) -> str:
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", "", text)


_WRITERS = {"md": _markdown, "txt": _plain, "html": _html, "eml": _mail, "docx": _docx, "pdf": _pdf}
