"""Files as they should not be: corrupt, locked, empty, misnamed, enormous; and names that are no UTF-8."""

from __future__ import annotations

import os
import random
import zipfile
from functools import cache
from io import BytesIO
from pathlib import Path

from tests.support.planted import a_docx, a_pdf

LATIN_NAME = b"caf\xe9 menu.txt"
LATIN_FOLDER = b"r\xe9sum\xe9s"
BACKSLASH_NAME = rb"caf\xe9 menu.txt"
"""What the key of LATIN_NAME would look like, were it not escaped."""


def lay_down(folder: Path, root: Path) -> dict[str, str]:
    """Write them; returns the unreadable ones: key → a part of the reason that is given."""
    folder.mkdir(parents=True)
    refused: dict[str, str] = {}
    for name, (data, reason) in (_unreadable() | {n: (d, "") for n, d in _readable().items()}).items():
        path = folder / name
        path.write_bytes(data)
        if reason:
            refused[str(path.relative_to(root))] = reason
    lay_down_odd_names(folder)
    huge = folder / "too-large.txt"
    with huge.open("wb") as file:  # a hole: it takes no room on the disk
        file.truncate(120_000_000)
    refused[str(huge.relative_to(root))] = "too large"
    return refused


def lay_down_odd_names(folder: Path) -> None:
    """Names that are not UTF-8, and one that looks like the key of such a name."""
    raw = os.fsencode(folder)
    for raw_name in (LATIN_NAME, BACKSLASH_NAME):
        _write(raw + b"/" + raw_name, "Crème brûlée für alle".encode("latin-1"))
    os.mkdir(raw + b"/" + LATIN_FOLDER)
    _write(raw + b"/" + LATIN_FOLDER + b"/\xfcber.md", b"# about\n\ntext")


def lay_down_junk(folder: Path, root: Path) -> list[str]:
    """What nobody would search for; returns the keys."""
    folder.mkdir(parents=True)
    chance = random.Random(3)
    junk = {
        "photo.jpg": b"\xff\xd8\xff\xe0" + chance.randbytes(500),
        "library.so.6": b"\x7fELF" + chance.randbytes(500),
        "program": b"\x7fELF" + chance.randbytes(500),
        "backup.zip": _zip({"a.txt": b"text"}),
        "data": chance.randbytes(4000),
        "nothing": b"",
        "__init__.py": b"",
        "module.pyc": chance.randbytes(200),
        "key.pem": b"-----BEGIN PRIVATE KEY-----\n",
        ".hidden.txt": b"hidden",
    }
    for name, data in junk.items():
        (folder / name).write_bytes(data)
    (folder / ".git").mkdir()
    (folder / ".git" / "description.txt").write_text("not a document")
    return [str((folder / name).relative_to(root)) for name in (*junk, ".git/description.txt")]


def _unreadable() -> dict[str, tuple[bytes, str]]:
    chance = random.Random(1)
    pdf, letter = a_pdf(), a_docx()
    return {
        "empty.txt": (b"", "empty file"),
        "empty.pdf": (b"", "empty file"),
        "empty.docx": (b"", "empty file"),
        "cut.pdf": (pdf[:40], "damaged PDF"),
        "overwritten.pdf": (b"%PDF-1.7\n" + chance.randbytes(3000), "damaged PDF"),
        "noise.pdf": (chance.randbytes(3000), "damaged PDF"),
        "locked.pdf": (a_pdf(password="heron"), "encrypted"),
        "cut.docx": (letter[: len(letter) // 2], "damaged DOCX"),
        "noise.docx": (chance.randbytes(3000), "damaged DOCX"),
        "locked.docx": (_locked_office(), "encrypted"),
        "archive.docx": (_zip({"readme.txt": b"only text"}), "a ZIP archive"),
        "bomb.docx": (_bomb(), "unpacks to far more"),
        "cut.xls": (_locked_office()[:600], "damaged XLS"),
        "program.txt": (b"\x7fELF\x02\x01\x01" + bytes(200), "a program"),
        "noise.txt": (chance.randbytes(3000), "binary data"),
        "scrap.pdf": (b"x\n", "damaged PDF"),
        "scrap.docx": (b"\x0b\xed", "damaged DOCX"),
        "photo.pdf": (b"\x89PNG\r\n\x1a\n" + chance.randbytes(300), "an image"),
    }


def _readable() -> dict[str, bytes]:
    return {
        "really-a-pdf.txt": a_pdf(text="wearing another coat"),
        "really-a-page.pdf": b"<!doctype html><title>Coat</title><p>wearing another coat</p>",
        "really-text.docx": b"wearing another coat\n",
        "really-a-letter.doc": a_docx(text="wearing another coat"),
        "huge-line.txt": b"word " * 2_000_000,
        "huge-line.json": b'{"words": [' + b",".join(b'"w%d"' % n for n in range(300_000)) + b"]}",
        "huge-line.md": b"# T\n\n" + b"word " * 400_000,
        "latin-1.txt": "Die Grüße kamen spät, wie schön.\n".encode("latin-1"),
        "utf-16.txt": "Ænean ûber alles — 漢字\n".encode("utf-16"),
        "bare-utf-16.txt": ("plain words in wide letters\n" * 5).encode("utf-16-le"),
        "cyrillic.txt": "Цапля ведёт тихую книгу у реки. Цапля ведёт её давно.\n".encode("cp1251"),
        "japanese.html": (
            "<html><head><meta charset=shift_jis><title>鷺</title></head>"
            "<body><p>鷺は静かに帳簿をつける</p></body></html>"
        ).encode("shift_jis"),
        "half.html": b"<html><body><h1>Open<p>never closed <b>bold<table><tr><td>cell",
        "half.xml": b"<?xml version='1.0'?><rss><channel><title>T & Q</title><item>never closed",
        "zeros.txt": b"text with\x00 a zero in it, and more of it after that\n" * 3,
        "mailbox-message": b"From bo@example.org Tue Jan  2\nFrom: bo@example.org\n"
        b"Date: Tue, 2 Jan 2024 10:00:00 +0000\n"
        b"Subject: no extension\n\nwearing another coat\n",
    }


def _write(path: bytes, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)


def _zip(members: dict[str, bytes]) -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


@cache
def _bomb() -> bytes:
    """600 MB of one paragraph, in less than one."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        with archive.open("word/document.xml", "w") as member:
            for _ in range(60):
                member.write(b"<w:p/>" * 1_700_000)
    return file.getvalue()


def _locked_office() -> bytes:
    """What Office makes of a document with a password: an OLE file with one encrypted stream."""
    header = bytearray(512)
    header[:8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
    header[24:34] = bytes([0x3E, 0, 3, 0, 0xFE, 0xFF, 9, 0, 6, 0])
    header[44] = 1
    directory = bytearray(512)
    for at, name in enumerate(("Root Entry", "EncryptedPackage")):
        directory[at * 128 : at * 128 + 2 * len(name)] = name.encode("utf-16-le")
    return bytes(header) + bytes(directory) + bytes(1024)
