"""A landing while it is being landed: its counts, and what its lines asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from farm.connector import State
from farm.lines import clean
from farm.store.landing import MALFORMED_SHOWN, Children, Landed, Landing

_encoder = msgspec.json.Encoder()
_lenient = msgspec.json.Encoder(enc_hook=str)


@dataclass(slots=True)
class Entry:
    landing: Landing
    new: int = 0
    changed: int = 0
    deleted: int = 0
    unchanged: int = 0
    rejected: int = 0
    moved: int = 0
    complete: bool = False
    unread: list[str] = field(default_factory=list)
    """How the keys begin of which a complete listing knows nothing."""
    unchanged_unit: bool = False
    stale: bool = False
    state: State | None = None
    streams: set[str] = field(default_factory=set)
    """Of the records and schemas among the lines."""
    hashes: set[str] = field(default_factory=set)
    """Content hashes of the documents among the lines; more than one: the unit has none of its own."""
    malformed: list[str] = field(default_factory=list)
    children: Children = field(default_factory=Children)

    @property
    def fence(self) -> int:
        return self.landing.attempt_id

    @property
    def unit(self) -> str:
        return self.landing.key

    def reject(self, number: int, why: str) -> None:
        self.rejected += 1
        if len(self.malformed) < MALFORMED_SHOWN:
            self.malformed.append(f"line {number}: {clean(why)}")

    def reject_as_told(self, message: str) -> None:
        """The connector itself found a line unusable; its message names the line."""
        self.rejected += 1
        if len(self.malformed) < MALFORMED_SHOWN:
            self.malformed.append(clean(message))

    def landed(self, *, repeated: bool = False) -> Landed:
        return Landed(
            job_id=self.landing.job_id,
            attempt_id=self.landing.attempt_id,
            new=self.new,
            changed=self.changed,
            deleted=self.deleted,
            unchanged=self.unchanged,
            rejected=self.rejected,
            moved=self.moved,
            children=self.children,
            complete=self.complete,
            unread=self.unread,
            stale=self.stale,
            repeated=repeated,
            malformed=self.malformed,
        )


def json_text(value: Any) -> str:
    """JSON that SQLite can hold: lone surrogates are replaced, what JSON does not know becomes a string."""
    try:
        return _encoder.encode(value).decode()
    except UnicodeEncodeError:
        return _lenient.encode(_clean(value)).decode()
    except TypeError:
        return _lenient.encode(value).decode()


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(str(key)): _clean(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(inner) for inner in value]
    return value
