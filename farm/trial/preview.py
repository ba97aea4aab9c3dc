"""The first things that would land of a source, and what would be refused, without landing any."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from farm.connector import Document, Line, Log, Record, Unit
from farm.core.job import Ending, Outcome
from farm.errors import FarmError
from farm.lines import Malformed
from farm.settings import Settings, SourceSettings
from farm.trial.bench import Bench

TEXT_CHARS = 2000

Row = dict[str, Any]


def preview(home: Path, settings: Settings, source: SourceSettings, count: int = 10) -> list[Row]:
    """Up to `count` rows, each with a `kind`: document, record, rejected (a line), refused (a unit).

    Raises FarmError when the source cannot be listed. A text longer than 2,000 characters is cut; `bytes` is
    its length. Nothing is read but its secrets of what `home` holds: it stays as it is.
    """
    rows: list[Row] = []
    units: list[Unit] = []

    def enough(line: Line | Malformed) -> bool:
        if isinstance(line, Unit):
            units.append(line)
        elif (row := _row("", line)) is not None:
            rows.append(row)
        return len(rows) + len(units) >= count

    with Bench(source, home) as bench:
        ending, _ = bench.discover(enough)
        if ending.outcome is not Outcome.SUCCEEDED and not (rows or units):
            raise FarmError(f"{source.name}: {ending.message or ending.outcome}")
        for tried in bench.extract(units):
            if len(rows) >= count:
                break
            rows += _of_unit(units[tried.ending.job_id].key, tried.ending, tried.lines)
    return rows[:count]


def _of_unit(unit: str, ending: Ending, lines: list[Line | Malformed]) -> Iterator[Row]:
    if ending.outcome is not Outcome.SUCCEEDED:
        yield {
            "kind": "refused",
            "unit": unit,
            "key": unit,
            "outcome": str(ending.outcome),
            "message": ending.message,
        }
        return
    for line in lines:
        if (row := _row(unit, line)) is not None:
            yield row


def _row(unit: str, line: Line | Malformed) -> Row | None:
    match line:
        case Document():
            return {
                "kind": "document",
                "unit": unit,
                "key": line.key,
                "title": line.title,
                "uri": line.uri,
                "mime": line.mime,
                "created_at": line.created_at,
                "modified_at": line.modified_at,
                "bytes": len(line.text.encode(errors="replace")),
                "elements": len(line.elements),
                "metadata": line.metadata,
                "text": line.text[:TEXT_CHARS],
            }
        case Record():
            return {
                "kind": "record",
                "unit": unit,
                "key": line.key,
                "stream": line.stream,
                "deleted": line.deleted,
                "record": line.record,
            }
        case Malformed():
            return {"kind": "rejected", "unit": unit, "key": unit, "message": line.why}
        case Log(level="rejected"):
            return {"kind": "rejected", "unit": unit, "key": unit, "message": line.message}
        case _:
            return None
