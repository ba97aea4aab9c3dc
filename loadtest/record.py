"""The record: one file of raw events, one JSON object a line, `type` first. Written once, reported often.

type      what
meta      the scenario, the machine, when
submit    one request: sent and answered (Unix seconds), source, run, number of jobs
sample    every half second: the farm's CPU seconds and memory, jobs per state
status    every second: budget, held, holds by reason, how many are landing
file      a file that was written for a folder source, and when
gone      a job that hung: when the last of its processes was gone
restart   a kill of the farm: killed, started again, answered, first lease, how many were in flight
stored    how many documents are in the store at the end
job       from the ledger, afterwards: when it came, its source, where it rests
attempt   from the ledger: leased, started, wall, reserved, outcome
figure    something measured on its own: name, unit, values
phase     the driver's own steps
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

Event = dict[str, Any]


class Writer:
    """`with Writer(path) as record: record(type, **fields)`."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("wb")
        self._encoder = msgspec.json.Encoder()

    def __call__(self, type_: str, **fields: Any) -> None:
        self._file.write(self._encoder.encode({"type": type_, **fields}) + b"\n")

    def all(self, type_: str, rows: Iterable[Event]) -> None:
        for row in rows:
            self(type_, **row)

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def read(path: Path) -> Iterator[Event]:
    """Its events. A last line that was cut off is passed over: the driver may have been killed."""
    decoder = msgspec.json.Decoder(Event)
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield decoder.decode(line)


@dataclass(slots=True)
class Record:
    """The events by type."""

    meta: Event = field(default_factory=dict)
    by_type: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, events: Iterable[Event]) -> Record:
        record = cls()
        for event in events:
            if event["type"] == "meta":
                record.meta = event
            else:
                record.by_type[event["type"]].append(event)
        return record

    def __getitem__(self, type_: str) -> list[Event]:
        return self.by_type.get(type_, [])
