"""E-mail by the standard library: it forgives what mailers get wrong, and names no part it cannot read.

The text is the headers a person looks at, then every text part: of alternatives the plain one, of a forwarded
message its headers too. Attachments are named in the metadata.
"""

from __future__ import annotations

from collections.abc import Iterator
from email import message_from_bytes
from email.errors import MessageError
from email.message import Message

from connectors.files.charset import decode
from connectors.files.dates import timestamp
from connectors.files.headers import addresses, header, readable
from connectors.files.kinds import HTML, Kind
from connectors.files.pages import read_page
from connectors.files.parts import Parts
from connectors.files.plain import paragraphs
from farm.connector import Element, InvalidInput

_SHOWN = ("Subject", "From", "To", "Cc", "Date")
_MAX_DEPTH = 20
_MAX_PARTS = 5_000


def read_mail(data: bytes, kind: Kind, *, attached: list[Message] | None = None) -> Parts:
    """The message in these bytes. Raises InvalidInput where there is none.

    `attached` is given the parts that are attachments, in the order of their names in the metadata.
    """
    if data.startswith(b"From ") and b"\n" in data:
        data = data.partition(b"\n")[2]  # the envelope line of an mbox
    try:
        message = message_from_bytes(data)
    except (MessageError, ValueError, IndexError, RecursionError) as error:
        raise InvalidInput(f"damaged {kind.label}: {error}") from error
    if not message.keys() and not message.preamble and not str(message.get_payload()).strip():
        raise InvalidInput(f"damaged {kind.label}: neither headers nor text in it")
    parts = Parts("", title=header(message, "Subject"), mime=kind.mime)
    parts.created_at = timestamp(header(message, "Date"))
    parts.metadata = _metadata(message)
    texts: list[str] = []
    for element in _Walk(parts.metadata, attached).elements(message, 0):
        texts.append(element.text)
        parts.elements.append(element)
    shown = _headers(message)
    parts.text = "\n\n".join([shown, *texts] if shown else texts)
    return parts


def _headers(message: Message) -> str:
    return "\n".join(f"{name}: {value}" for name in _SHOWN if (value := header(message, name)))


def _metadata(message: Message) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in ("From", "To", "Cc", "Reply-To"):
        if value := header(message, name):
            found[name.lower().replace("-", "_")] = addresses(value)
    for name in ("Message-ID", "In-Reply-To", "References", "List-Id"):
        if value := header(message, name):
            found[name.lower().replace("-", "_")] = value
    return found


class _Walk:
    """Through the parts of one message, as deep and as far as a person's mail goes."""

    def __init__(self, metadata: dict[str, object], attached: list[Message] | None) -> None:
        self._metadata = metadata
        self._attached = attached
        self._left = _MAX_PARTS

    def elements(self, part: Message, depth: int) -> Iterator[Element]:
        self._left -= 1
        if depth > _MAX_DEPTH or self._left < 0:
            self._metadata["parts"] = "left out: too many"
            return
        kind = part.get_content_type()
        if part.is_multipart():
            inner = [each for each in part.get_payload() if isinstance(each, Message)]
            if kind == "multipart/alternative":
                inner = _preferred(inner)
            for each in inner:
                if kind == "message/rfc822" and (headers := _headers(each)):
                    yield Element("NarrativeText", headers)
                yield from self.elements(each, depth + 1)
            return
        name = filename_of(part)
        if name or part.get_content_disposition() == "attachment":
            self._note(name or "unnamed", part)
        elif kind == "text/html":
            yield from read_page(decoded_bytes(part), HTML, declared=_charset(part)).elements
        elif part.get_content_maintype() in ("text", "message"):
            text, _ = decode(decoded_bytes(part), declared=_charset(part))
            yield from paragraphs(text)

    def _note(self, name: str, part: Message) -> None:
        names = self._metadata.setdefault("attachments", [])
        if isinstance(names, list):
            names.append(name)
        if self._attached is not None:
            self._attached.append(part)


def _preferred(alternatives: list[Message]) -> list[Message]:
    """The plain text if it says anything, else what is richest."""
    for each in alternatives:
        if each.get_content_type() == "text/plain" and decoded_bytes(each).strip():
            return [each]
    return alternatives[-1:]


def decoded_bytes(part: Message) -> bytes:
    """The content of a part, its transfer encoding undone."""
    payload = part.get_payload(decode=True)
    if isinstance(payload, bytes):
        return payload
    return str(part.get_payload()).encode("utf-8", "surrogateescape")


def _charset(part: Message) -> str:
    try:
        return part.get_content_charset("") or ""
    except (MessageError, ValueError, LookupError):
        return ""


def filename_of(part: Message) -> str:
    """The name that a part was attached under; empty where it has none."""
    try:
        return readable(part.get_filename("") or "")
    except (MessageError, ValueError, LookupError, AttributeError, TypeError):
        return "unnamed"
