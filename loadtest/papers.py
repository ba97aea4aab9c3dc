"""Real documents made from what is at hand after installation, as files of ten kinds.

The passages come from the descriptions that installed packages bring, from Python's own language reference
(`pydoc_data`) and from this project's documentation; what is read as source code, from Python's library. A seed
chooses which go into which file, so no two files are alike and the same seed gives the same files.

`lay_down` fills a folder for a comparison; `files` gives a scenario as many as it asks for.
"""

from __future__ import annotations

import csv
import importlib
import io
import json
import os
import random
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from functools import cache
from importlib.metadata import distributions
from itertools import count, cycle
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

MIXES = {
    "papers": {"md": 0.40, "txt": 0.20, "html": 0.15, "eml": 0.13, "docx": 0.06, "pdf": 0.06},
    "mixed": {
        "md": 0.25,
        "txt": 0.20,
        "html": 0.10,
        "py": 0.10,
        "csv": 0.05,
        "json": 0.05,
        "eml": 0.10,
        "docx": 0.05,
        "xlsx": 0.05,
        "pdf": 0.05,
    },
    "notes": {"md": 1.0},
}
"""Kind → share of the files."""
EVERY = 20
"""Of a mix's files, so many that follow each other have its shares."""
MEDIAN_BYTES = 3_000
NOTE_BYTES = 1_000
"""Half of a scenario's files have a longer text."""
MOST_BYTES = 30_000
FOLDERS = 40
PLACES = ("Report", "Letter", "Minutes", "Notes", "Draft", "Summary", "Manual", "Answer")

Passages = list[list[str]]
"""For each text its paragraphs."""


def lay_down(folder: Path, count: int, seed: str = "papers") -> int:
    """Write so many papers below the folder; how many bytes they have together."""
    chance = random.Random(seed)
    texts = passages()
    kinds = _kinds("papers", count)
    chance.shuffle(kinds)
    size = 0
    for number, kind in enumerate(kinds):
        title = f"{chance.choice(PLACES)} {number}"
        data = WRITERS[kind](title, _some(texts, chance, MEDIAN_BYTES), number)
        path = folder / f"{number % FOLDERS:02}" / f"{title.lower().replace(' ', '-')}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        size += len(data)
    return size


def files(mix: str, seed: str) -> Iterator[tuple[str, bytes]]:
    """(name, content) without end, kind after kind as the mix has them."""
    chance = random.Random(f"{seed} {mix}")
    texts = passages()
    for number, kind in zip(count(), cycle(_kinds(mix, EVERY)), strict=False):
        data = WRITERS[kind](f"{mix} {number}", _some(texts, chance, NOTE_BYTES), number)
        yield f"{mix}-{number:06}.{kind}", data


def _kinds(mix: str, count: int) -> list[str]:
    kinds = [kind for kind, share in MIXES[mix].items() for _ in range(round(count * share))]
    return (kinds + ["md"] * count)[:count]


@cache
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


def _some(texts: Passages, chance: random.Random, median_bytes: int) -> list[str]:
    """Paragraphs that follow each other in one text or, when it is short, in several."""
    wanted = min(MOST_BYTES, chance.lognormvariate(0, 0.7) * median_bytes)
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


def _python(title: str, paragraphs: Sequence[str], number: int) -> bytes:
    return f"# {title}\n".encode() + _modules()[number % len(_modules())].read_bytes()


@cache
def _modules() -> list[Path]:
    return sorted(p for p in Path(os.__file__).parent.glob("*.py") if p.stat().st_size < 60_000)


def _csv(title: str, paragraphs: Sequence[str], number: int) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(["nr", "text", "length"])
    writer.writerows((n, part[:80], len(part)) for n, part in enumerate([*paragraphs] * 5))
    return out.getvalue().encode()


def _json(title: str, paragraphs: Sequence[str], number: int) -> bytes:
    return json.dumps({"title": title, "parts": paragraphs}, indent=1).encode()


def _mail(title: str, paragraphs: Sequence[str], number: int) -> bytes:

    mail = EmailMessage()
    mail["Subject"] = title
    mail["From"] = f"Ada Crane <ada{number % 17}@example.org>"
    mail["To"] = "Bo Finch <bo@example.org>"
    mail["Date"] = format_datetime(datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=number))
    mail["Message-ID"] = f"<{number}@example.org>"
    mail.set_content("\n\n".join(["Dear Bo,", *paragraphs, "Ada", ""]))
    if number % 2:
        mail.add_alternative(_html(title, paragraphs, number).decode(), subtype="html")
        mail.set_boundary(f"part-of-{number}")  # or it would be drawn by lot
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


def _xlsx(title: str, paragraphs: Sequence[str], number: int) -> bytes:
    openpyxl: Any = importlib.import_module("openpyxl")
    book, file = openpyxl.Workbook(), io.BytesIO()
    book.active.append([title])
    for n, part in enumerate(paragraphs):
        book.active.append([n, _printable(part)[:200].lstrip("="), len(part)])
    book.save(file)
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


WRITERS = {
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
