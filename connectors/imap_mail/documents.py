"""What a message lands as: a document for it, and one for each attachment that holds text.

Metadata say nothing of where the message is, so that they stay true when it moves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import Message
from hashlib import blake2b
from typing import Any

from connectors.files.extract import bounded, parts_of
from connectors.files.headers import header
from connectors.files.kinds import BINARY, MAIL, extension_of
from connectors.files.mail import decoded_bytes, filename_of, read_mail
from connectors.imap_mail.bodies import LEFT_OUT, Fetched
from connectors.imap_mail.options import ImapOptions
from farm.connector import Document, InvalidInput, MissingDependency, Unit

_MOST_ATTACHMENTS = 200
_MOST_REFERENCES = 100
_ID = re.compile(r"<[^<>\s]+>")


def documents(unit: Unit, mail: Fetched, content_hash: str, options: ImapOptions) -> Iterator[Document]:
    """The message's document first, with what became of its attachments. Raises InvalidInput for no message."""
    attached: list[Message] = []
    parts = bounded(read_mail(mail.raw, MAIL, attached=attached))
    about = parts.metadata
    about.update(
        _thread(about.pop("message_id", ""), about.pop("in_reply_to", ""), about.pop("references", ""))
    )
    if not mail.whole:
        about["fetched"] = "in parts"
    found: list[Document] = []
    unread: dict[str, str] = {}
    for number, part in enumerate(attached, 1):
        name = filename_of(part) or f"part-{number}"
        try:
            if document := _attachment(unit, part, number, name, number > _MOST_ATTACHMENTS, options):
                found.append(document)
        except (InvalidInput, MissingDependency) as error:
            unread[name] = str(error)
    if unread:
        about["attachments_unread"] = unread
    received = mail.received_at
    sent = parts.created_at if parts.created_at is not None else received
    yield Document(
        key=unit.key,
        text=parts.text,
        title=parts.title or "(no subject)",
        uri=unit.uri,
        mime=parts.mime,
        created_at=sent,
        modified_at=received,
        metadata=about,
        elements=parts.elements,
        content_hash=content_hash,
    )
    shared: dict[str, Any] = {name: about[name] for name in ("from", "message_id", "thread") if name in about}
    for document in found:
        document.metadata.update(shared, attached_to=parts.title)
        yield _dated(document, sent, received, content_hash)


def hash_of(raw: bytes) -> str:
    return blake2b(raw, digest_size=16).hexdigest()


def _dated(document: Document, sent: float | None, received: float | None, content_hash: str) -> Document:
    return Document(
        key=document.key,
        text=document.text,
        title=document.title,
        uri=document.uri,
        mime=document.mime,
        created_at=document.created_at if document.created_at is not None else sent,
        modified_at=document.modified_at if document.modified_at is not None else received,
        metadata=document.metadata,
        elements=document.elements,
        content_hash=content_hash,
    )


def _attachment(
    unit: Unit, part: Message, number: int, name: str, too_many: bool, options: ImapOptions
) -> Document | None:
    """None where there is nothing in it to read. Raises InvalidInput with the reason why it is not read."""
    if (size := header(part, LEFT_OUT)).isdigit():
        raise InvalidInput(f"left out: {int(size):,} bytes")
    if not options.attachments:
        return None
    if too_many:
        raise InvalidInput(f"left out: more than {_MOST_ATTACHMENTS} attachments")
    if part.get_content_maintype() in ("image", "audio", "video") or extension_of(name) in BINARY:
        return None
    data = decoded_bytes(part)
    if not data.strip():
        return None
    if len(data) > options.max_attachment:
        raise InvalidInput(f"left out: {len(data):,} bytes")
    parts = parts_of(data, _named(name, part))
    return Document(
        key=f"{unit.key}#{number}",
        text=parts.text,
        title=name,
        uri=f"{unit.uri}#{number}",
        mime=parts.mime,
        created_at=parts.created_at,
        modified_at=parts.modified_at,
        metadata=parts.metadata,
        elements=parts.elements,
    )


def _named(name: str, part: Message) -> str:
    """The name a file would have: some mailers send none, and the type then says what it is."""
    if "." in name:
        return name.replace("/", "_")
    kinds = {"application/pdf": "pdf", "text/html": "html", "text/csv": "csv", "message/rfc822": "eml"}
    return f"{name}.{kinds.get(part.get_content_type(), 'txt')}"


def _thread(message_id: str, in_reply_to: str, references: str) -> dict[str, Any]:
    """The chain of messages that this one answers; `thread` is the first of it, the same for all in a thread."""
    own, answered = _ID.findall(message_id), _ID.findall(in_reply_to)
    chain = _ID.findall(references)
    if len(chain) > _MOST_REFERENCES:
        chain = [chain[0], *chain[-_MOST_REFERENCES + 1 :]]
    root = (chain or answered or own or [""])[0]
    told = {
        "message_id": own[0] if own else message_id,
        "in_reply_to": answered[0] if answered else "",
        "references": chain,
        "thread": root,
    }
    return {name: value for name, value in told.items() if value}
