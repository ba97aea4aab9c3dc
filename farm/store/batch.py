"""Lands a batch of attempts inside one open transaction: line by line, then what they mean as a whole."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from farm.connector import (
    Document,
    Gone,
    Line,
    Log,
    Record,
    Schema,
    State,
    Unchanged,
    Unit,
)
from farm.connector import Listing as ListingLine
from farm.core.job import Stage
from farm.lines import Malformed, clean
from farm.store.documents import Documents
from farm.store.entry import Entry, json_text
from farm.store.landing import Landed, Landing
from farm.store.notes import (
    keep_unit,
    landed_before,
    note_cursor,
    note_landings,
    note_units,
    overtaken_among,
    recall,
)
from farm.store.records import Records
from farm.store.units import Listing


class Batch:
    """One transaction's worth of landings.

    Extracts that follow each other are read one after the other and settled together, so that many small ones share
    their statements. A discover, or whatever touches the same unit twice, waits until the others are settled.
    """

    def __init__(self, db: sqlite3.Connection, now: float) -> None:
        self._db = db
        self._now = now
        self._documents = Documents(db, now)
        self._records = Records(db, now)

    def land(self, batch: Sequence[Landing]) -> list[Landed]:
        """Land all of them in order."""
        landed: list[Landed] = []
        for group in _groups(map(_clean, batch)):
            if group[0].stage is Stage.DISCOVER:
                landed.append(self._land_discover(group[0]))
            else:
                landed += self._land_extracts(group)
        return landed

    def _land_discover(self, landing: Landing) -> Landed:
        entry = Entry(landing)
        if recall(self._db, entry):
            return self._landed_before(entry)
        self._read_discover(entry)
        self._settle_discover(entry)
        return entry.landed()

    def _land_extracts(self, group: Sequence[Landing]) -> list[Landed]:
        """Of units that differ."""
        before = landed_before(self._db, (landing.attempt_id for landing in group))
        overtaken = overtaken_among(self._db, group)
        entries = [Entry(landing) for landing in group]
        for entry in entries:
            if entry.fence in before:
                recall(self._db, entry)
            elif entry.fence in overtaken:
                entry.stale = True
            else:
                self._read_extract(entry)
        self._settle([entry for entry in entries if entry.fence not in before])
        return [entry.landed(repeated=entry.fence in before) for entry in entries]

    def _landed_before(self, entry: Entry) -> Landed:
        """A listing names its children again, for whoever crashed before hearing of them."""
        listing = Listing(self._db, entry, self._now)
        for line in entry.landing.lines:
            if isinstance(line, Unit | Gone) and line.key:
                listing.add(line)
            elif isinstance(line, ListingLine):
                entry.unread = [clean(prefix) for prefix in line.unread]
        listing.name_children()
        return entry.landed(repeated=True)

    def _read_extract(self, entry: Entry) -> None:
        for number, line in enumerate(entry.landing.lines, 1):
            if isinstance(line, Unchanged):
                entry.unchanged_unit = True
            elif isinstance(line, Unit | Gone | ListingLine | State):
                entry.reject(number, f"{type(line).__name__.upper()} belongs to discover, not to extract")
            else:
                self._read_content(entry, number, line)

    def _read_discover(self, entry: Entry) -> None:
        listing = Listing(self._db, entry, self._now)
        gone: list[str] = []
        for number, line in enumerate(entry.landing.lines, 1):
            match line:
                case Unit(key="") | Gone(key=""):
                    entry.reject(number, f"{type(line).__name__.upper()} without a key")
                case Unit():
                    listing.add(line)
                case Gone():
                    listing.add(line)
                    gone.append(line.key)
                case ListingLine():
                    entry.complete = line.complete
                    entry.unread = [clean(prefix) for prefix in line.unread]
                case State():
                    entry.state = line
                case Unchanged():
                    entry.reject(number, "UNCHANGED belongs to extract, not to discover")
                case _:
                    if gone and isinstance(line, Document):
                        self._bury_own(entry, gone)  # a program tells what happened in the order it happened
                        gone.clear()
                    self._read_content(entry, number, line)
        self._flush()
        self._bury_own(entry, gone)
        listing.compare(self._documents, self._records)

    def _read_content(self, entry: Entry, number: int, line: Line | Malformed) -> None:
        match line:
            case Document(key=""):
                entry.reject(number, "DOCUMENT without a key")
            case Document():
                self._documents.add(entry, line)
            case Record():
                if why := self._records.add(entry, line):
                    entry.reject(number, why)
            case Schema():
                self._records.declare(entry, line)
            case Malformed():
                entry.reject(number, line.why)
            case Log(level="rejected"):
                entry.reject_as_told(line.message)
            case _:
                pass  # progress and log say nothing about content

    def _bury_own(self, entry: Entry, keys: Sequence[str]) -> None:
        """Documents that discover landed itself have no unit; GONE names them by their own key."""
        if not keys:
            return
        self._flush()
        found = self._db.execute(
            "SELECT id FROM document WHERE source = ? AND key IN (SELECT value FROM json_each(?))"
            " AND unit = '' AND deleted_at IS NULL AND fence <= ?",
            (entry.landing.source, json_text(keys), entry.fence),
        ).fetchall()
        self._documents.bury([row[0] for row in found], entry)

    def _flush(self) -> None:
        self._documents.flush()
        self._records.flush()

    def _settle(self, entries: Sequence[Entry]) -> None:
        """Finish these extracts."""
        self._flush()
        whole = [entry for entry in entries if not entry.stale]
        for entry in whole:
            if entry.unchanged_unit:
                keep_unit(self._db, entry, self._now)
        read = [entry for entry in whole if not entry.unchanged_unit]
        self._documents.bury_rest(read)
        self._records.bury_rest(read)
        note_units(self._db, read, self._now)
        note_landings(self._db, entries, self._now)

    def _settle_discover(self, entry: Entry) -> None:
        # Of what discover lands itself nobody knows where it was found: while some is unread, none of it is gone.
        if entry.complete and not entry.unread:
            self._documents.bury_rest([entry])
            self._bury_records(entry)
        if entry.state is not None:
            note_cursor(self._db, entry, entry.state, self._now)
        note_landings(self._db, [entry], self._now)

    def _bury_records(self, entry: Entry) -> None:
        """Of the streams this listing spoke of, what it did not give; it may know nothing of the others."""
        found = self._db.execute(
            "SELECT id FROM record WHERE source = ? AND unit = '' AND deleted_at IS NULL AND fence < ?"
            " AND stream IN (SELECT value FROM json_each(?))",
            (entry.landing.source, entry.fence, json_text(sorted(entry.streams))),
        ).fetchall()
        self._records.bury([row[0] for row in found], entry)


def _groups(batch: Iterable[Landing]) -> Iterator[list[Landing]]:
    """In order: each discover by itself, and extracts as long as no unit and no attempt comes twice."""
    group: list[Landing] = []
    touched: set[tuple[str, str] | int] = set()
    for landing in batch:
        own: set[tuple[str, str] | int] = {(landing.source, landing.key), landing.attempt_id}
        discover = landing.stage is Stage.DISCOVER
        if group and (discover or touched & own):
            yield group
            group, touched = [], set()
        if discover:
            yield [landing]
        else:
            group.append(landing)
            touched |= own
    if group:
        yield group


def _clean(landing: Landing) -> Landing:
    """Names that SQLite can hold, as in the lines."""
    key, version, uri = clean(landing.key), clean(landing.version), clean(landing.uri)
    if (key, version, uri) == (landing.key, landing.version, landing.uri):
        return landing
    return replace(landing, key=key, version=version, uri=uri)
