"""What the bytes say a file is, whatever it is called."""

from __future__ import annotations

import codecs
import re
from io import BytesIO
from typing import IO
from zipfile import BadZipFile, ZipFile
from zlib import error as ZlibError

from connectors.files.kinds import (
    CODE,
    DOC,
    DOCX,
    EPUB,
    HTML,
    MAIL,
    MSG,
    NOTEBOOK,
    ODP,
    ODS,
    ODT,
    PDF,
    PPT,
    PPTX,
    RTF,
    TEXT,
    XLS,
    XLSB,
    XLSX,
    XML,
    Family,
    Kind,
    by_name,
)
from farm.connector import InvalidInput

HEAD_BYTES = 4096
_MAX_MEMBER_BYTES = 500_000_000

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP = b"PK\x03\x04"
_LOCKED_TALK = b"\xdf\xc4\xd1\xf3"
"""PowerPoint's word in "Current User" for an encrypted presentation."""
_IMAGES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"II*\x00": "image/tiff",
    b"MM\x00*": "image/tiff",
}
_BINARIES = {
    b"\x7fELF": "a program",
    b"MZ": "a program",
    b"\xca\xfe\xba\xbe": "a program",
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ\x00": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"SQLite format 3\x00": "a SQLite database",
    b"OggS": "sound or video",
    b"fLaC": "sound",
    b"ID3": "sound",
    b"RIFF": "sound, video or an image",
    b"\x00asm": "a program",
    b"PK\x05\x06": "an empty ZIP archive",
}
_BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
_CONTROL = bytes(set(range(32)) - {7, 8, 9, 10, 11, 12, 13, 14, 15, 27} | {127})
_HTML = re.compile(
    rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)[\s>]", re.I | re.S
)
_WORD = re.compile(rb"[0-9A-Za-z\x80-\xff]{2,}")
_MAIL_HEADER = re.compile(
    rb"^(from|to|cc|subject|date|message-id|received|return-path|delivered-to|mime-version|content-type|"
    rb"reply-to|sender|x-[\w-]+):",
    re.I | re.M,
)


def is_text(head: bytes, *, named: bool = False) -> bool:
    """Whether these first bytes can be text in some charset.

    `named`: they are called text, and may hold a zero here and there, as logs do after a crash.

    >>> is_text("naïve".encode("latin-1")), is_text("né".encode("utf-16")), is_text(b"\\x00\\x01\\x02\\x03")
    (True, True, False)
    """
    if head.startswith(_BOMS):
        return True
    if b"\x00" in head:  # UTF-16 and UTF-32 without a mark: nearly every other byte is zero, on one side only
        if named and head.count(0) * 20 <= len(head):
            return is_text(head.replace(b"\x00", b""))
        even, odd = head[::2].count(0), head[1::2].count(0)
        few, many = sorted((even, odd))
        return many > len(head) * 0.35 and (few < len(head) * 0.02 or few > len(head) * 0.2)
    return len(head) - len(head.translate(None, _CONTROL)) <= len(head) * 0.02


def is_mail(head: bytes) -> bool:
    """Whether a message begins here: at least three headers of mail, one of them of a kind only mail has."""
    if head.startswith(b"From ") and b"\n" in head:
        head = head.partition(b"\n")[2]
    block = re.split(rb"\r?\n\r?\n", head, maxsplit=1)[0]
    if not re.match(rb"[A-Za-z][\w-]*:", block):
        return False
    names = {name.lower() for name in _MAIL_HEADER.findall(block)}
    return (
        len(names) >= 3
        and bool(names & {b"from", b"received", b"return-path"})
        and bool(names & {b"message-id", b"received", b"date", b"mime-version", b"return-path"})
    )


def worth_reading(head: bytes, file: IO[bytes]) -> bool:
    """Discover's question about a file whose name says nothing: is there a document in it?"""
    if not head:
        return False
    if head.startswith(_ZIP):
        file.seek(0)
        return _zip_kind(file) is not None
    if head.startswith((b"%PDF-", b"{\\rtf", _OLE)):
        return True
    return not _binary(head) and is_text(head)


def kind_of(data: bytes, name: str) -> Kind:
    """What extract should read these bytes as. Raises InvalidInput where they are nothing it can read."""
    named = by_name(name)
    head = data[:HEAD_BYTES]
    if named is MAIL and is_mail(head):
        return MAIL  # a message may carry anything, in bytes of any kind
    rich = _rich(data, named)
    if rich is not None:
        return rich
    for magic, mime in _IMAGES.items():
        if head.startswith(magic):
            return Kind(Family.IMAGE, mime, "image")
    if (what := _binary(head)) is not None:
        raise InvalidInput(f"not a document: {what}")
    if not is_text(head, named=named is not None and named.family not in (Family.RICH, Family.IMAGE)):
        if named is None or named.family in (Family.RICH, Family.IMAGE):
            label = "document" if named is None else named.label
            raise InvalidInput(f"damaged {label}: it does not begin as one")
        raise InvalidInput("not a document: binary data")
    kind = _text_kind(head, named)
    if kind is TEXT and named is not None and named.family is not Family.TEXT and not _says_something(head):
        raise InvalidInput(f"damaged {named.label}: it does not begin as one")
    return kind


def _says_something(head: bytes) -> bool:
    """Whether there are words or numbers in a text that is called something else, or only a few odd bytes.

    >>> _says_something(b"a letter"), _says_something("鷺は静かに帳簿".encode()), _says_something(b"x")
    (True, True, False)
    """
    if head.startswith(_BOMS):
        return True
    head = head.replace(b"\x00", b"")
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # its end may be cut
    except UnicodeDecodeError:
        return len(head) >= 64 and len(_WORD.findall(head)) >= 8
    return sum(map(str.isalnum, text)) >= 7


def _text_kind(head: bytes, named: Kind | None) -> Kind:
    if named is NOTEBOOK or (named is not None and named.family in (Family.CODE, Family.HTML, Family.MAIL)):
        return named
    if named is None or named.family in (Family.TEXT, Family.RICH, Family.IMAGE):
        if _HTML.match(head.removeprefix(b"\xef\xbb\xbf")):
            return HTML
        if is_mail(head):
            return MAIL
        if head.lstrip().startswith(b"<?xml"):
            return XML
        if named is None and head.startswith(b"#!"):
            return CODE
        return named if named is not None and named.family is Family.TEXT else TEXT
    return named


def _rich(data: bytes, named: Kind | None) -> Kind | None:
    if data.startswith(b"%PDF-") or (named is PDF and b"%PDF-" in data[:1024]):
        return PDF
    if data.startswith(b"{\\rtf"):
        return RTF
    if data.startswith(_OLE):
        return _ole_kind(data, named)
    if data.startswith(_ZIP):
        label = named.label if named is not None and named.family is Family.RICH else "ZIP archive"
        try:
            kind = _zip_kind(BytesIO(data))
        except InvalidInput as error:
            raise InvalidInput(str(error).replace("ZIP archive", label)) from error
        if kind is None:
            raise InvalidInput("not a document: a ZIP archive")
        return kind
    return None


def _zip_kind(file: IO[bytes]) -> Kind | None:
    """Raises InvalidInput where the archive is broken or locked."""
    try:
        with ZipFile(file) as archive:
            names = set(archive.namelist())
            if any(entry.flag_bits & 1 for entry in archive.infolist()):
                raise InvalidInput("encrypted: needs a password")
            if any(entry.file_size > _MAX_MEMBER_BYTES for entry in archive.infolist()):
                raise InvalidInput("damaged ZIP archive: it unpacks to far more than it should")
            if "mimetype" in names and archive.getinfo("mimetype").file_size < 200:
                mime = archive.read("mimetype").decode("ascii", "replace").strip()
                for kind, meant in ((EPUB, EPUB.mime), (ODT, ODT.mime), (ODS, ODS.mime), (ODP, ODP.mime)):
                    if mime.startswith(meant):
                        if "META-INF/manifest.xml" in names and b"encryption-data" in archive.read(
                            "META-INF/manifest.xml"
                        ):
                            raise RuntimeError("encrypted")
                        return kind
    except (BadZipFile, OSError, ValueError, NotImplementedError, EOFError, ZlibError) as error:
        raise InvalidInput("damaged ZIP archive: cut short or overwritten") from error
    except RuntimeError as error:  # what the lines above and zipfile say of a locked entry
        raise InvalidInput("encrypted: needs a password") from error
    if "[Content_Types].xml" in names or "_rels/.rels" in names:
        if "xl/workbook.bin" in names:
            return XLSB
        for folder, kind in (("word/", DOCX), ("ppt/", PPTX), ("xl/", XLSX)):
            if any(name.startswith(folder) for name in names):
                return kind
    if "META-INF/container.xml" in names:
        return EPUB
    return None


def _ole_kind(data: bytes, named: Kind | None) -> Kind:
    def holds(stream: str) -> bool:
        return stream.encode("utf-16-le") in data

    if not _ole_is_sound(data):
        label = named.label if named in (DOC, XLS, PPT, MSG) else "OLE file"
        raise InvalidInput(f"damaged {label}: cut short or overwritten")
    if holds("EncryptedPackage") or (holds("WordDocument") and _word_is_locked(data)):
        raise InvalidInput("encrypted: needs a password")
    if holds("PowerPoint Document") and _LOCKED_TALK in data:
        raise InvalidInput("encrypted: needs a password")
    if named in (DOC, XLS, PPT, MSG):
        return named
    for stream, kind in (
        ("__nameid_version1.0", MSG),
        ("WordDocument", DOC),
        ("Workbook", XLS),
        ("PowerPoint Document", PPT),
    ):
        if holds(stream):
            return kind
    raise InvalidInput("not a document: an OLE file of another program")


def _ole_is_sound(data: bytes) -> bool:
    """Whether the header's counts fit the file: a parser that believed them would ask for gigabytes."""
    if len(data) < 1024:
        return False
    shift = int.from_bytes(data[30:32], "little")
    if shift not in (9, 12):
        return False
    sectors = len(data) >> shift
    counts = (int.from_bytes(data[at : at + 4], "little") for at in (44, 64, 72))
    return all(count <= sectors for count in counts)


def _word_is_locked(data: bytes) -> bool:
    """The flag in the header of Word's stream, which begins at some sector."""
    for at in range(512, len(data) - 12, 512):
        if data[at : at + 2] == b"\xec\xa5":
            return bool(data[at + 11] & 1)
    return False


def _binary(head: bytes) -> str | None:
    for magic, what in _BINARIES.items():
        if head.startswith(magic) and (magic != b"MZ" or b"\x00" in head):
            return what
    return None
