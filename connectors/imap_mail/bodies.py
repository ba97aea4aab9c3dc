"""Fetching messages: many small ones in one command, of a large one only the parts that are worth it.

What a worker is given next is fetched together with what it reads now, and waits in the session; each message
is asked for once. Of a message larger than `max_size` the structure comes first, then the text and the attachments
that are not too large, and a message is built of those: the others stand in it empty, with a mark.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from connectors.imap_mail.faults import Refused
from connectors.imap_mail.place import Place
from connectors.imap_mail.session import Session
from farm.connector import Permanent

AHEAD_MESSAGES = 100
AHEAD_BYTES = 6_000_000
SMALL_BYTES = 500_000
"""Larger messages are fetched one by one."""
LEFT_OUT = "X-Farm-Left-Out"
"""Header of a part that was not fetched; its value is the part's size in bytes."""
_HEADER_BYTES = 500_000
_MOST_PARTS = 500
_DEPTH = 20


@dataclass(frozen=True, slots=True)
class Fetched:
    raw: bytes
    received_at: float | None
    whole: bool = True


def fetched(session: Session, place: Place, upcoming: Iterable[Place] = ()) -> Fetched | None:
    """The message; None where it is no longer. `upcoming` are those that will be asked for next."""
    if place.identity in session.ahead:
        return _given(session, place)
    session.ahead.clear()  # nobody asked for these after all: the jobs went elsewhere
    together = list(_together(place, upcoming))
    if _validity(session, together) != place.validity:
        return None
    if place.size > session.options.max_size:
        return _in_parts(session, place)
    try:
        found = _fetch(session, together)
    except Refused:
        if len(together) == 1:
            raise
        found = _fetch(session, [place])  # another one of them may be what the server cannot give
    session.ahead.update(found)
    return _given(session, place) if place.identity in found else None


def _validity(session: Session, places: list[Place]) -> int:
    """Of their mailbox, once the connection sees all of them.

    A connection shows a mailbox as it was when it last told of it: to one that was kept since before a message
    came, that message is as good as gone.
    """
    mailbox = session.opened(places[0].mailbox)
    if mailbox.validity == places[0].validity and any(place.uid >= mailbox.next for place in places):
        mailbox = session.examine(mailbox.name)
    return mailbox.validity


def _together(place: Place, upcoming: Iterable[Place]) -> Iterator[Place]:
    yield place
    left, size = AHEAD_MESSAGES, AHEAD_BYTES
    if place.size > SMALL_BYTES:
        return
    for other in upcoming:
        left, size = left - 1, size - other.size
        same = other.mailbox == place.mailbox and other.validity == place.validity
        if left <= 0 or size < 0 or not same or other.size > SMALL_BYTES:
            return
        yield other


def _fetch(session: Session, places: list[Place]) -> dict[tuple[str, int, int], Fetched | None]:
    """Those that are there; None for one of which the server gives no content."""
    first = places[0]
    said = session.fetch(first.mailbox, [place.uid for place in places], ["INTERNALDATE", "BODY.PEEK[]"])
    if session.opened(first.mailbox).validity != first.validity:  # it was made anew between two connections
        return {}
    found: dict[tuple[str, int, int], Fetched | None] = {}
    for place in places:
        if (answer := said.get(place.uid)) is None:
            continue
        raw = answer.get(b"BODY[]")
        found[place.identity] = Fetched(raw, _time(answer)) if isinstance(raw, bytes) else None
    return found


def _given(session: Session, place: Place) -> Fetched | None:
    """What came of it; None where it is gone meanwhile, which servers tell by an answer without content."""
    mail: Fetched | None = session.ahead.pop(place.identity)
    if mail is not None:
        return mail
    others = dict(session.ahead)  # that are here already, whatever the new look at the mailbox forgets
    there = session.examine(place.mailbox).validity == place.validity
    if there and session.fetch(place.mailbox, [place.uid], ["FLAGS"]):
        session.ahead.update(others)
        raise Refused(f"the server gave no content of message {place.uid} of {place.mailbox}")
    return None


def _time(answer: dict[bytes, Any]) -> float | None:
    when = answer.get(b"INTERNALDATE")
    try:
        return when.timestamp() if isinstance(when, datetime) else None
    except (ValueError, OverflowError):
        return None


# -- a large message


@dataclass(frozen=True, slots=True)
class _Leaf:
    section: str
    size: int
    text: bool


def _in_parts(session: Session, place: Place) -> Fetched | None:
    asked = ["INTERNALDATE", "BODYSTRUCTURE", f"BODY.PEEK[HEADER]<0.{_HEADER_BYTES}>"]
    try:
        answer = session.fetch(place.mailbox, [place.uid], asked).get(place.uid)
        if answer is None or b"BODYSTRUCTURE" not in answer:
            return None
        structure = answer[b"BODYSTRUCTURE"]
        leaves = {leaf.section: leaf for leaf in _leaves(structure, "", 0)}
    except (Refused, Permanent, IndexError, TypeError, ValueError, AttributeError):
        return _beginning(session, place)  # a structure that server or library cannot write down
    header = next((raw for item, raw in answer.items() if item.startswith(b"BODY[HEADER]")), b"")
    wanted = _worth(list(leaves.values()), session)
    sections = [item for section in leaves for item in _items(section, section in wanted)]
    said: dict[bytes, Any] = {}
    for start in range(0, len(sections), 40):
        part = session.fetch(place.mailbox, [place.uid], sections[start : start + 40])
        said |= part.get(place.uid, {})
    return Fetched(_built(structure, header, said, leaves, wanted), _time(answer), whole=False)


def _beginning(session: Session, place: Place) -> Fetched | None:
    asked = ["INTERNALDATE", f"BODY.PEEK[]<0.{int(session.options.max_size)}>"]
    answer = session.fetch(place.mailbox, [place.uid], asked).get(place.uid)
    raw = next((raw for item, raw in (answer or {}).items() if item.startswith(b"BODY[]")), None)
    return Fetched(raw, _time(answer or {}), whole=False) if raw is not None else None


def _leaves(part: Any, section: str, depth: int) -> Iterator[_Leaf]:
    if depth > _DEPTH:
        return
    if part.is_multipart:
        for number, each in enumerate(part[0], 1):
            yield from _leaves(each, f"{section}.{number}" if section else str(number), depth + 1)
        return
    encoding, size = bytes(part[5] or b"").lower(), int(part[6] or 0)
    text = bytes(part[0]).lower() == b"text" and not _attached(part)
    yield _Leaf(section or "1", size * 3 // 4 if encoding == b"base64" else size, text)


def _attached(part: Any) -> bool:
    return any(
        isinstance(field, tuple)
        and field
        and isinstance(field[0], bytes)
        and field[0].lower() == b"attachment"
        for field in part[7:]
    )


def _worth(leaves: list[_Leaf], session: Session) -> set[str]:
    """The text first, then attachments as they come, as much as max_size allows in all."""
    options = session.options
    left, wanted = int(options.max_size), set[str]()
    for leaf in sorted(leaves[:_MOST_PARTS], key=lambda leaf: not leaf.text):
        fits = leaf.size <= left and (
            leaf.text or (options.attachments and leaf.size <= options.max_attachment)
        )
        if fits:
            wanted.add(leaf.section)
            left -= leaf.size
    return wanted


def _items(section: str, wanted: bool) -> list[str]:
    return [f"BODY.PEEK[{section}.MIME]", *([f"BODY.PEEK[{section}]"] if wanted else [])]


def _built(
    structure: Any, header: bytes, said: dict[bytes, Any], leaves: dict[str, _Leaf], wanted: set[str]
) -> bytes:
    """A message of these parts, in the structure that they had."""

    def content(part: Any, section: str, depth: int) -> bytes:
        if not part.is_multipart:
            return _leaf(said, leaves[section or "1"], (section or "1") in wanted)
        boundary = b"=_farm_%d_%s" % (depth, section.replace(".", "_").encode())
        subtype = bytes(part[1]) if isinstance(part[1], bytes) else b"mixed"
        inner = [
            content(each, f"{section}.{number}" if section else str(number), depth + 1)
            for number, each in enumerate(part[0], 1)
            if depth < _DEPTH
        ]
        head = b'Content-Type: multipart/%s; boundary="%s"\r\n\r\n' % (subtype, boundary)
        return (
            head + b"".join(b"--%s\r\n%s\r\n" % (boundary, each) for each in inner) + b"--%s--\r\n" % boundary
        )

    return _without_content_headers(header) + content(structure, "", 0)


def _leaf(said: dict[bytes, Any], leaf: _Leaf, wanted: bool) -> bytes:
    mime = said.get(f"BODY[{leaf.section}.MIME]".encode()) or b""
    body = said.get(f"BODY[{leaf.section}]".encode()) if wanted else None
    mime = bytes(mime).strip(b"\r\n") + b"\r\n" if mime else b""
    if not isinstance(body, bytes):
        return b"%s%s: %d\r\n\r\n" % (mime.lstrip(), LEFT_OUT.encode(), leaf.size)
    return mime + b"\r\n" + body


def _without_content_headers(header: bytes) -> bytes:
    """The headers of the message without those that tell of the structure it had."""
    kept: list[bytes] = []
    drop = False
    for line in header.splitlines(keepends=True):
        if not line.strip():
            break
        if line[:1] not in b" \t":
            drop = line.lower().startswith((b"content-", b"mime-version"))
        if not drop:
            kept.append(line)
    if kept and not kept[-1].endswith(b"\n"):
        kept.append(b"\r\n")
    return b"".join(kept)
