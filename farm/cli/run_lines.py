"""What people read of a run, as it goes and when it has ended."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from farm.cli.runs import documents
from farm.ledger import views
from farm.words import span

Row = dict[str, Any]


class Wait(NamedTuple):
    """What a run waits for."""

    why: str
    until: float
    """The next try, in Unix seconds."""


def done(row: Row) -> int:
    return int(sum(row["jobs"][state] for state in ("succeeded", "quarantined", "cancelled")))


def plain(row: Row, rate: float, now: float) -> str:
    quarantined = row["jobs"]["quarantined"]
    refused = f", {quarantined:,} refused" if quarantined else ""
    pace = waits(row["waits"], now) or f"{rate:,.0f}/s"
    return f"{row['source']}: {done(row):,} of {sum(row['jobs'].values()):,} jobs done, {pace}{refused}"


def wait_of(db: sqlite3.Connection, row: Row, fuse: Row | None) -> Wait | None:
    """Why nothing of this run goes on, where its source failed; None where something runs or may start."""
    jobs, now = row["jobs"], time.time()
    if jobs["running"] or not (jobs["retrying"] or jobs["pending"]):
        return None
    if fuse is not None and fuse["until"] is not None and fuse["until"] > now:
        return Wait(_line(fuse["message"]), fuse["until"])
    retry = views.next_retry(db, row["source"]) if not jobs["pending"] else None
    return Wait(_line(retry[1]), retry[0]) if retry else None


def waits(wait: Wait | None, now: float) -> str:
    if wait is None:
        return ""
    soon = f"in {span(wait.until - now)}" if wait.until > now else "now"
    return f"waits: {wait.why}; next try {soon}"


def _line(message: str) -> str:
    return " ".join(message.split()) or "it failed"


def did(row: Row) -> bool:
    """Whether a run is worth a line to somebody who watches."""
    changed = any(row["documents"][what] for what in ("new", "changed", "deleted"))
    return changed or row["state"] in ("partial", "failed")


def ending(row: Row, before: Mapping[str, int] | None = None) -> str:
    """`before`: the documents of a run that had been over, and of which jobs were tried again."""
    began = row["started_at"] or row["requested_at"]
    took = f" in {span(row['finished_at'] - began)}" if row["finished_at"] else ""
    if before is not None:
        since = {what: n - before.get(what, 0) for what, n in row["documents"].items()}
        row, took = row | {"documents": since}, " after jobs of it were tried again"
    refused = row["jobs"]["quarantined"]
    held = f"{refused:,} in quarantine (`farm quarantine list`)" if refused else ""
    parts = [
        part for part in (documents(row) or ("" if held else "nothing new"), held, row["message"]) if part
    ]
    return f"{row['source']}: run {row['id']} {row['state']}{took}: {', '.join(parts)}"
