"""A document line made ready for its table: names cleaned, JSON written, what it says summed up in a digest."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from farm.connector import Document
from farm.lines import clean
from farm.store.entry import Entry, json_text

_elements = msgspec.json.Encoder()

COLUMNS = (
    "doc_id",
    "source",
    "unit",
    "key",
    "uri",
    "mime",
    "created_at",
    "modified_at",
    "metadata",
    "content_hash",
    "digest",
    "version",
    "bytes",
    "landed_at",
    "job_id",
    "fence",
    "deleted_at",
    "title",
    "text",
)
PLACES = tuple("CAST(? AS TEXT)" if column == "text" else "?" for column in COLUMNS)
"""For the values of COLUMNS. The text comes as UTF-8, as it was summed up: SQLite need not encode it again."""


def document_id(source: str, key: str) -> str:
    """A document's name everywhere: 32 hex digits made of its source and key.

    >>> document_id("notes", "a.md")
    'd03d5b4807a684f98620e20456943649'
    """
    return blake2b(f"{source}\0{key}".encode(), digest_size=16).hexdigest()


class Row(NamedTuple):
    entry: Entry
    document: Document
    uri: str
    title: str
    text: bytes
    metadata: str
    digest: str

    def values(self, doc_id: str, now: float) -> tuple[Any, ...]:
        """Those of COLUMNS."""
        landing, document = self.entry.landing, self.document
        return (
            doc_id,
            landing.source,
            self.entry.unit,
            document.key,
            self.uri,
            document.mime,
            document.created_at,
            document.modified_at,
            self.metadata,
            document.content_hash,
            self.digest,
            landing.version,
            len(self.text),
            now,
            landing.job_id,
            landing.attempt_id,
            None,
            self.title,
            self.text,
        )


def row_of(entry: Entry, document: Document) -> Row:
    """The row of this line."""
    title, uri = clean(document.title), clean(document.uri or entry.landing.uri)
    names = (document.key, document.mime, document.content_hash)
    if (cleaned := tuple(map(clean, names))) != names:
        key, mime, content_hash = cleaned
        document = msgspec.structs.replace(document, key=key, mime=mime, content_hash=content_hash)
    text = b""
    try:
        text = document.text.encode()
        if b"\0" in text:
            raise ValueError
    except ValueError:  # a NUL, or a lone surrogate, which raises a subclass
        text = clean(document.text).encode()
    metadata = json_text(document.metadata) if document.metadata else "{}"
    digest = blake2b(text, digest_size=16)
    about = json_text(
        [metadata, document.mime, document.created_at, document.modified_at, document.content_hash]
    )
    digest.update(about.encode())
    if document.elements:
        try:
            digest.update(_elements.encode(document.elements))
        except (UnicodeEncodeError, TypeError):
            digest.update(json_text(msgspec.to_builtins(document.elements)).encode())
    return Row(entry, document, uri, title, text, metadata, digest.hexdigest())
