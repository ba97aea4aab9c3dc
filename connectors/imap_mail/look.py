"""What became of a source's mailboxes since the last look: new messages, gone ones, changed flags.

The cursor has, of each mailbox, UIDVALIDITY, UIDNEXT, HIGHESTMODSEQ and the UIDs that were there. A mailbox whose
STATUS is what it was is not opened. Of one that changed: what is new is listed by its UIDs, what is gone the server
says itself (QRESYNC), else the UIDs are compared, and whose flags changed it says too (CONDSTORE), else all are
read. A mailbox with another UIDVALIDITY, or one that is new, is listed whole; that its messages are the ones from
before shows by their versions.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any

from connectors.imap_mail.faults import Refused
from connectors.imap_mail.folders import chosen
from connectors.imap_mail.options import ImapOptions
from connectors.imap_mail.place import ALL_HEADERS, HEADERS, Place, has_identity, version_of
from connectors.imap_mail.session import Examined, Session
from connectors.imap_mail.uids import Uids
from farm.connector import Context, Gone, Item, Listing, Record, State, Transient

FLAGS = "flags"
CHUNK = 500
FORM = 1
"""Of the cursor."""


@dataclass(frozen=True, slots=True)
class Known:
    """A mailbox as the last look left it."""

    validity: int
    next: int
    messages: int
    modseq: int
    uids: str
    flags: int = -1
    """Sum of all flags' marks, where the server keeps no MODSEQ; -1: unknown."""

    @classmethod
    def of(cls, value: Any) -> Known | None:
        try:
            known = cls(**value)
            Uids.parse(known.uids)
        except (TypeError, ValueError, AttributeError):
            return None
        return known


class Look:
    """One discover."""

    def __init__(self, ctx: Context[ImapOptions], session: Session, cursor: Any) -> None:
        self.ctx = ctx
        self.session = session
        self.options = ctx.options
        told = cursor if isinstance(cursor, dict) and cursor.get("form") == FORM else {}
        self.since = str(self.options.since or "")
        self.same_since = told.get("since") == self.since
        self.first = not told
        mailboxes = told.get("mailboxes")
        found = {name: Known.of(value) for name, value in (mailboxes or {}).items()}
        self.before = {name: known for name, known in found.items() if known is not None}
        self.seen = 0

    def items(self) -> Iterator[Item]:
        """Ends with a listing, unless it was asked to stop."""
        names = chosen(self.session)
        # What is gone from one mailbox may have moved to another: only both together show it.
        first = [name for name in names if self._is_asked_for(name)]
        after = dict(self.before)
        unread: list[str] = []
        left = False
        for name in (*first, *(name for name in names if name not in first)):
            if name not in first and not left:
                break
            try:
                for item in self._mailbox(name, after):
                    if self.ctx.stop_requested:
                        return
                    left = left or isinstance(item, Gone)
                    yield item
            except Refused as error:  # a mailbox that may not be read harms no other
                self.ctx.log.warning("cannot read %s: %s; nothing of it counts as gone", name, error)
                unread.append(f"{name}/")
        for name in sorted(self.before.keys() - set(names)):
            yield from self._gone(name, after.pop(name).validity, Uids.parse(self.before[name].uids))
        if after != self.before or self.first or not self.same_since:
            mailboxes = {name: asdict(known) for name, known in after.items()}
            yield State({"form": FORM, "since": self.since, "mailboxes": mailboxes})
        yield Listing(complete=self.first and self.ctx.paths is None, unread=unread)

    def _is_asked_for(self, name: str) -> bool:
        """A path is a mailbox, or the key of a message in one."""
        paths = self.ctx.paths
        return paths is None or any(path == name or path.rpartition("/")[0] == name for path in paths)

    # -- one mailbox

    def _mailbox(self, name: str, after: dict[str, Known]) -> Iterator[Item]:
        before = self.before.get(name)
        self._breathe(f"looking at {name}")
        if before is not None and self.same_since and self._is_as_it_was(before, self.session.status(name)):
            return
        mailbox = self.session.examine(name)
        if before is None or before.validity != mailbox.validity or not self.same_since:
            yield from self._whole(mailbox, before, after)
        else:
            yield from self._changes(mailbox, before, after)

    def _is_as_it_was(self, before: Known, now: Examined) -> bool:
        if self.options.flags and not now.modseq:
            return False  # only the flags themselves can tell
        return (before.validity, before.next, before.messages, before.modseq) == (
            now.validity, now.next, now.messages, now.modseq,
        )  # fmt: skip

    def _whole(self, mailbox: Examined, before: Known | None, after: dict[str, Known]) -> Iterator[Item]:
        there = self.session.uids(mailbox, since=self.options.since)
        known = Uids.parse(before.uids) if before else Uids()
        if before and before.validity != mailbox.validity:
            yield from self._gone(mailbox.name, before.validity, known)
        elif before:
            yield from self._gone(mailbox.name, before.validity, known - there)
            there, known = there - known, known & there
        if before is None or before.validity != mailbox.validity:
            known = Uids()
        listed, marks = yield from self._new(mailbox, there)
        after[mailbox.name] = _known(mailbox, known | listed, -1 if known else marks)

    def _changes(self, mailbox: Examined, before: Known, after: dict[str, Known]) -> Iterator[Item]:
        known = Uids.parse(before.uids)
        gone, changed, marks = self._gone_and_changed(mailbox, before, known)
        yield from self._gone(mailbox.name, mailbox.validity, gone)
        known = known - gone
        for uid in sorted(changed):
            if uid in known:
                yield self._flags(Place(mailbox.name, mailbox.validity, uid), changed[uid])
        fresh = Uids()
        if mailbox.next > before.next:
            there = self.session.uids(mailbox, low=before.next, since=self.options.since)
            fresh, more = yield from self._new(mailbox, there)
            marks = (marks + more) % _MARKS
        after[mailbox.name] = _known(mailbox, known | fresh, marks)

    def _gone_and_changed(
        self, mailbox: Examined, before: Known, known: Uids
    ) -> tuple[Uids, dict[int, list[str]], int]:
        """UIDs that are gone; flags that changed, by UID; the sum of the marks where all had to be read."""
        gone = Uids()
        changed: dict[int, list[str]] = {}
        if before.next <= 1:
            return gone, changed, 0
        if mailbox.modseq and before.modseq:
            resync = self.session.has("QRESYNC")
            if mailbox.modseq == before.modseq and mailbox.messages == before.messages:
                return gone, changed, 0
            since = f"CHANGEDSINCE {before.modseq}" + (" VANISHED" if resync else "")
            self.session.vanished()
            for uid, flags in self._read_flags(mailbox, f"1:{before.next - 1}", [since]):
                changed[uid] = flags
            if resync:
                for uids in self.session.vanished():
                    gone = gone | (known & uids)
                return gone, changed, 0
            return known - self.session.uids(mailbox), changed, 0
        gone = known - self.session.uids(mailbox)
        if not self.options.flags:
            return gone, changed, 0
        marks = 0
        for chunk in (known - gone).newest_first(CHUNK):
            for uid, flags in self._read_flags(mailbox, str(Uids(chunk))):
                changed[uid] = flags
                marks = (marks + _mark(uid, flags)) % _MARKS
            self._breathe(f"flags of {mailbox.name}")
        if marks == before.flags:
            changed.clear()
        return gone, changed, marks

    def _read_flags(
        self, mailbox: Examined, uids: str, modifiers: list[str] | None = None
    ) -> Iterator[tuple[int, list[str]]]:
        """Flags by UID. What the server says unasked lacks the size, and is not taken for an answer."""
        found = self.session.fetch(mailbox.name, uids, ["FLAGS", "RFC822.SIZE"], modifiers)
        for uid in sorted(found, reverse=True):
            if b"RFC822.SIZE" in found[uid]:
                yield uid, _names(found[uid].get(b"FLAGS", ()))

    # -- what is told

    def _new(self, mailbox: Examined, uids: Uids) -> Generator[Item, None, tuple[Uids, int]]:
        """The units of these messages, newest first; returns those still there, and the sum of their marks."""
        listed: list[int] = []
        marks = 0
        for chunk in uids.newest_first(CHUNK):
            found = self._headers(mailbox, chunk)
            for uid in sorted(found, reverse=True):
                headers, size, flags = found[uid]
                place = Place(mailbox.name, mailbox.validity, uid, size)
                yield place.unit(self.options, version_of(headers, size))
                if self.options.flags:
                    yield self._flags(place, flags)
                marks = (marks + _mark(uid, flags)) % _MARKS
                listed.append(uid)
            self._breathe(f"listing {mailbox.name}")
        return Uids(listed), marks

    def _headers(self, mailbox: Examined, uids: list[int]) -> dict[int, tuple[bytes, int, list[str]]]:
        """What names a message, its size and its flags, by UID."""
        self.seen += len(uids)
        found: dict[int, tuple[bytes, int, list[str]]] = {}
        anonymous: list[int] = []
        answers = self.session.fetch(mailbox.name, uids, ["FLAGS", "RFC822.SIZE", HEADERS])
        if self.session.opened(mailbox.name).validity != mailbox.validity:
            raise Transient(f"{mailbox.name} was made anew while it was listed")
        for uid, said in answers.items():
            headers = next((raw for item, raw in said.items() if item.startswith(b"BODY[HEADER")), None)
            if b"RFC822.SIZE" not in said or headers is None:
                continue
            found[uid] = headers, int(said[b"RFC822.SIZE"]), _names(said.get(b"FLAGS", ()))
            if not has_identity(headers):
                anonymous.append(uid)
        if anonymous:
            for uid, said in self.session.fetch(mailbox.name, anonymous, [ALL_HEADERS]).items():
                if uid in found and (headers := said.get(b"BODY[HEADER]")):
                    found[uid] = headers, *found[uid][1:]
        return found

    def _flags(self, place: Place, flags: list[str]) -> Record:
        told = {
            "mailbox": place.mailbox,
            "uid": place.uid,
            "flags": flags,
            "seen": "\\Seen" in flags,
            "answered": "\\Answered" in flags,
            "flagged": "\\Flagged" in flags,
        }
        return Record(FLAGS, told, place.key)

    def _gone(self, mailbox: str, validity: int, uids: Uids) -> Iterator[Item]:
        for uid in uids:
            key = Place(mailbox, validity, uid).key
            yield Gone(key)
            if self.options.flags:
                yield Record(FLAGS, {}, key, deleted=True)

    def _breathe(self, message: str) -> None:
        self.ctx.progress(done=self.seen, message=message)


def _known(mailbox: Examined, uids: Uids, marks: int) -> Known:
    return Known(
        mailbox.validity, mailbox.next, mailbox.messages, mailbox.modseq, str(uids),
        -1 if mailbox.modseq else marks,
    )  # fmt: skip


_MARKS = 1 << 62


def _mark(uid: int, flags: list[str]) -> int:
    """A number for a message with these flags; the sum of all tells whether any changed, in whatever order."""
    return int.from_bytes(blake2b(f"{uid} {flags}".encode(), digest_size=7).digest())


def _names(flags: Any) -> list[str]:
    """Sorted; \\Recent is about our looking, not about the message."""
    names = {flag.decode("utf-8", "replace") if isinstance(flag, bytes) else str(flag) for flag in flags}
    return sorted(names - {"\\Recent"})
