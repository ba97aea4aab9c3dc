"""What a program printed: lines of the protocol, those of Singer's that are passed over, and all the rest.

A line that cannot be used becomes a Log of level "rejected" with its number; the good ones are not harmed.
"""

from __future__ import annotations

import logging
from typing import Any, Literal

import msgspec

from connectors._program import TooLong
from farm.connector import (
    Context,
    Document,
    Gone,
    Item,
    Line,
    Listing,
    Log,
    Progress,
    Record,
    Schema,
    State,
    Unchanged,
    Unit,
)
from farm.lines import Malformed, decode

IGNORED = {"ACTIVATE_VERSION"}
"""Singer's message that older versions of a table's rows are void: rows are replaced by their keys here."""

Step = Literal["stream", "discover", "extract"]

ALLOWED: dict[Step, tuple[type[Line], ...]] = {
    "stream": (Document, Record, Schema, State, Gone, Listing),
    "discover": (Document, Record, Schema, State, Unit, Gone, Listing),
    "extract": (Document, Record, Schema, Unchanged),
}


class Printed:
    """Takes the lines of one run of a program in turn."""

    def __init__(self, ctx: Context[Any], step: Step) -> None:
        self._ctx, self._step = ctx, step
        self.lines = self.good = self.rejected = 0
        self.first_fault = ""
        self.listing: Listing | None = None
        """Kept back: only the program's end shows whether it was complete."""
        self._progress = Progress()

    def item(self, raw: bytes | TooLong) -> Item | None:
        """What lands of this line, if anything."""
        self.lines += 1
        if isinstance(raw, TooLong):
            return self._reject(f"longer than the limit ({raw.bytes} bytes)")
        if not raw.strip():
            return None
        match decode(raw):
            case Malformed(why):
                return self._other(raw, why)
            case Progress() as progress:
                self._progress = progress
                self._ctx.progress(progress.done, progress.total, progress.message)
            case Log(message=message, level=level):
                number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
                self._ctx.log.log(number, "%s", message[:4000])
            case line if not isinstance(line, ALLOWED[self._step]):
                return self._reject(f"{_tag(line)} does not belong into {_where(self._step)}")
            case Listing() as listing:
                self.listing = listing
            case line if fault := _fault(line):
                return self._reject(fault)
            case Unit() as unit:
                self.good += 1
                return msgspec.structs.replace(unit, version=own_version(unit))
            case Record() as record:
                self.good += 1
                gone = record.record.get("_sdc_deleted_at") is not None
                return msgspec.structs.replace(record, deleted=True) if gone else record
            case line:
                self.good += 1
                return line
        return None

    def _other(self, raw: bytes, why: str) -> Item | None:
        """A line that is not of our protocol: Singer has some that we may pass over."""
        try:
            tag = msgspec.json.decode(raw, type=_Tagged).type
        except (msgspec.DecodeError, UnicodeDecodeError):
            return self._reject(f"{why}: {raw[:120].decode('utf-8', 'replace')}")
        if tag in IGNORED:
            return None
        if tag == "BATCH":
            return self._reject("BATCH files are not read: configure the tap to print RECORD lines")
        return self._reject(f"{why}: {raw[:120].decode('utf-8', 'replace')}")

    def _reject(self, why: str) -> Item:
        self.rejected += 1
        message = f"line {self.lines}: {why}"
        self.first_fault = self.first_fault or message
        return Log(level="rejected", message=message)

    def alive(self) -> None:
        """Any output is a proof of life; keeps the figures the program gave, else counts what it printed."""
        told = self._progress
        if told.done or told.total:
            self._ctx.progress(told.done, told.total, told.message)
        else:
            self._ctx.progress(self.good, None, told.message)


class _Tagged(msgspec.Struct):
    type: str


def _fault(line: Line) -> str:
    """What such a line lacks."""
    match line:
        case Document(key="") | Unit(key="") | Gone(key="") | Unchanged(key=""):
            return f"{_tag(line)} without a key"
        case Record(stream="") | Schema(stream=""):
            return f"{_tag(line)} without a stream"
        case Unit(version=""):
            return "UNIT without a version"
    return ""


def own_version(unit: Unit) -> str:
    """The unit's version with its key before it.

    The farm takes a new unit of a gone one's version for the same, moved. That suits versions which nothing
    else can have; those of a stranger's program may as well be 1, 2, 3.
    """
    return f"{unit.key}@{unit.version}"


def _tag(line: Line) -> str:
    return str(type(line).__struct_config__.tag)


def _where(step: Step) -> str:
    return 'mode "stream"' if step == "stream" else f"the answer to {step}"
