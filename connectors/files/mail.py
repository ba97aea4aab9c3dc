"""E-mail by the standard library: it forgives what mailers get wrong, and names no part it cannot read.

The text is the headers a person looks at, then every text part: of alternatives the plain one, of a forwarded
message its headers too. Attachments are named in the metadata.
"""

from __future__ import annotations

from collections.abc import Iterator
from email import message_from_bytes, policy
from email.errors import MessageError
from email.message import Message
from email.utils import getaddresses

from connectors.files.charset import decode
from connectors.files.dates import timestamp
from connectors.files.kinds import HTML, Kind
from connectors.files.pages import read_page
from connectors.files.parts import Parts
from connectors.files.plain import paragraphs
from farm.connector import Element, InvalidInput

_SHOWN = ("Subject", "From", "To", "Cc", "Date")
_MAX_DEPTH = 20


def read_mail(data: bytes, kind: Kind) -> Parts:
    """The message in these bytes. Raises InvalidInput where there is none."""
    if data.startswith(b"From ") and b"\n" in data:
        data = data.partition(b"\n")[2]  # the envelope line of an mbox
    try:
        message = message_from_bytes(data, policy=policy.default)
    except (MessageError, ValueError, IndexError, RecursionError) as error:
        raise InvalidInput(f"damaged {kind.label}: {error}") from error
    if not message.keys() and not message.preamble and not str(message.get_payload()).strip():
        raise InvalidInput(f"damaged {kind.label}: neither headers nor text in it")
    parts = Parts("", title=_header(message, "Subject"), mime=kind.mime)
    parts.created_at = timestamp(_header(message, "Date"))
    parts.metadata = _metadata(message)
    texts: list[str] = []
    for element in _elements(message, parts.metadata, 0):
        texts.append(element.text)
        parts.elements.append(element)
    shown = _headers(message)
    parts.text = "\n\n".join([shown, *texts] if shown else texts)
    return parts


def _header(message: Message, name: str) -> str:
    """A header, decoded, on one line; what the parser stumbles over comes as it stands."""
    try:
        value = str(message.get(name, ""))
    except (MessageError, ValueError, IndexError, AttributeError, TypeError, KeyError):
        value = next((str(raw) for key, raw in message.raw_items() if key.lower() == name.lower()), "")
    value = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return " ".join(value.split())


def _headers(message: Message) -> str:
    return "\n".join(f"{name}: {value}" for name in _SHOWN if (value := _header(message, name)))


def _metadata(message: Message) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in ("From", "To", "Cc", "Reply-To"):
        if value := _header(message, name):
            addresses = [address for _, address in getaddresses([value]) if address]
            found[name.lower().replace("-", "_")] = addresses or [value]
    for name, key in (("Message-ID", "message_id"), ("In-Reply-To", "in_reply_to"), ("List-Id", "list_id")):
        if value := _header(message, name):
            found[key] = value
    return found


def _elements(part: Message, metadata: dict[str, object], depth: int) -> Iterator[Element]:
    if depth > _MAX_DEPTH:
        return
    kind = part.get_content_type()
    if part.is_multipart():
        inner = [each for each in part.get_payload() if isinstance(each, Message)]
        if kind == "multipart/alternative":
            inner = _preferred(inner)
        for each in inner:
            if kind == "message/rfc822" and (headers := _headers(each)):
                yield Element("NarrativeText", headers)
            yield from _elements(each, metadata, depth + 1)
        return
    name = _filename(part)
    if name or part.get_content_disposition() == "attachment":
        attachments = metadata.setdefault("attachments", [])
        if isinstance(attachments, list):
            attachments.append(name or "unnamed")
        return
    if kind == "text/html":
        yield from read_page(_bytes(part), HTML, declared=_charset(part)).elements
    elif part.get_content_maintype() in ("text", "message"):
        text, _ = decode(_bytes(part), declared=_charset(part))
        yield from paragraphs(text)


def _preferred(alternatives: list[Message]) -> list[Message]:
    """The plain text if it says anything, else what is richest."""
    for each in alternatives:
        if each.get_content_type() == "text/plain" and _bytes(each).strip():
            return [each]
    return alternatives[-1:]


def _bytes(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    if isinstance(payload, bytes):
        return payload
    return str(part.get_payload()).encode("utf-8", "surrogateescape")


def _charset(part: Message) -> str:
    try:
        return part.get_content_charset("") or ""
    except (MessageError, ValueError, LookupError):
        return ""


def _filename(part: Message) -> str:
    try:
        return part.get_filename("") or ""
    except (MessageError, ValueError, LookupError, AttributeError, TypeError):
        return "unnamed"
