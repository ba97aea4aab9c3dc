"""Every question asked of the ledger: read-only connections, short transactions, times as Unix seconds.

Counts come from `tally` and `total`, never from counting jobs; long lists are read page by page, so that no
reader holds the write-ahead log open. A folder without a ledger reads like one where nothing has happened yet.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from farm import sqlite
from farm.errors import NotFound
from farm.home import LEDGER

Row = dict[str, Any]

STATES = ("pending", "running", "retrying", "quarantined", "paused", "succeeded", "cancelled")
"""Where a job can rest, in the order people read them."""

DOCUMENTS = ("new", "changed", "deleted", "unchanged", "rejected")

PAGE = 1000
_SCHEMA = Path(__file__).with_name("schema.sql")


def connect(home: Path) -> sqlite3.Connection:
    """A read-only connection to the ledger of this state folder; raises LedgerDamaged or HomeUnusable."""
    path = home / LEDGER
    db = sqlite.open_reader(path.absolute()) if path.exists() else None
    if db is not None and not db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
        db.close()  # a farm is just making it
        db = None
    if db is None:
        db = sqlite3.connect(":memory:", isolation_level=None)
        db.executescript(_SCHEMA.read_text())
    db.row_factory = sqlite3.Row
    return db


def job_counts(db: sqlite3.Connection) -> dict[str, int]:
    """Jobs per state, every state named."""
    return _counted(db.execute("SELECT state, sum(n) FROM total GROUP BY state"))


def source_counts(db: sqlite3.Connection) -> dict[str, dict[str, int]]:
    """Jobs per state of each source that ever had a run, every state named."""
    rows: dict[str, list[tuple[str, int]]] = {}
    for source, state, n in db.execute("SELECT source, state, n FROM total"):
        rows.setdefault(source, []).append((state, n))
    return {source: _counted(counts) for source, counts in rows.items()}


def _counted(rows: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Every state in which a job can rest; failed is passed through, and its tally is always 0."""
    return dict.fromkeys(STATES, 0) | {state: n for state, n in rows if state in STATES}


def sources(db: sqlite3.Connection, names: Iterable[str] = ()) -> dict[str, Row]:
    """What the ledger knows of these sources and all that it has met: who paused it, what does not work, when
    it fires, its last run."""
    known: dict[str, Row] = {
        row["name"]: dict(row)
        for row in db.execute(
            """
            SELECT name, paused_at, coalesce(paused_by, '') AS paused_by, coalesce(degraded, '') AS degraded,
                   coalesce(served_s, 0.0) AS served_s, last_fire_at, next_fire_at
            FROM (SELECT name FROM source UNION SELECT source FROM schedule
                  UNION SELECT value FROM json_each(?))
            LEFT JOIN source USING (name)
            LEFT JOIN schedule ON schedule.source = name
            ORDER BY name
            """,
            (json.dumps(list(names)),),
        )
    }
    for name, row in known.items():
        last = db.execute(
            """
            SELECT id, type, state, requested_at, finished_at
            FROM run WHERE source = ? ORDER BY id DESC LIMIT 1
            """,
            (name,),
        ).fetchone()
        row["last_run"] = dict(last) if last else None
    return known


def fuses(db: sqlite3.Connection) -> dict[str, Row]:
    """Where the other side failed last: failures in a row, the next try, what the last failure said.

    `until` is None while the breaker is closed: the failures are being counted.
    """
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'fuse'").fetchone():
        return {}  # a ledger that no newer farm has opened yet
    rows = db.execute("SELECT source, failures, until, message FROM fuse")
    return {
        source: {"failures": failures, "until": until, "message": message}
        for source, failures, until, message in rows
    }


def next_retry(db: sqlite3.Connection, source: str) -> tuple[float, str] | None:
    """When the first of its jobs that wait for another attempt may have it, and why the last one failed."""
    row = db.execute(
        """
        SELECT task.due_at, message FROM task JOIN job USING (id)
        WHERE queue = ? AND task.due_at IS NOT NULL AND state = 'retrying' ORDER BY task.due_at LIMIT 1
        """,
        (source,),
    ).fetchone()
    return None if row is None else (row[0], row[1])


def runs(
    db: sqlite3.Connection,
    *,
    source: str | None = None,
    state: str | None = None,
    run_id: int | None = None,
    limit: int | None = None,
) -> Iterator[Row]:
    """Runs, the newest first, each with its jobs per state and its documents."""
    chosen = {"source": source, "state": state, "id": run_id}
    for row in _pages(db, "SELECT * FROM run", chosen, limit):
        jobs = _counted(db.execute("SELECT state, n FROM tally WHERE run_id = ?", (row["id"],)))
        documents = {name: row.pop(f"documents_{name}") for name in DOCUMENTS}
        row.pop("trigger_key")
        yield row | {"jobs": jobs, "documents": documents}


def run(db: sqlite3.Connection, run_id: int) -> Row:
    """One run; raises NotFound."""
    for found in runs(db, run_id=run_id, limit=1):
        return found
    raise NotFound(f"there is no run {run_id}: `farm runs` lists them")


def jobs(
    db: sqlite3.Connection,
    *,
    source: str | None = None,
    state: str | None = None,
    stage: str | None = None,
    run_id: int | None = None,
    limit: int | None = None,
) -> Iterator[Row]:
    """Jobs, the newest first."""
    chosen = {"source": source, "state": state, "stage": stage, "run_id": run_id}
    yield from _pages(
        db,
        "SELECT id, run_id, source, stage, key, state, attempts, number AS attempts_made, outcome, reason, "
        "message, due_at, priority, created_at, updated_at FROM job",
        chosen,
        limit,
    )


def job(db: sqlite3.Connection, job_id: int) -> Row:
    """One job with its attempts, their evidence, and every change of its state; raises NotFound."""
    row = db.execute("SELECT * FROM job WHERE id = ?", (job_id,)).fetchone()
    if row is None:
        raise NotFound(f"there is no job {job_id}: `farm jobs list` shows them")
    found = dict(row)
    found["payload"] = _loads(found["payload"])
    attempts = [
        dict(attempt) | {"evidence": _loads(attempt["evidence"])}
        for attempt in db.execute(
            """
            SELECT number, outcome, started_at, ended_at, wall_s, cpu_s, memory_peak_bytes, exit, signal,
                   message, id AS attempt_id, launch_id, cpu AS cpu_reserved,
                   memory_bytes AS memory_reserved_bytes, evidence
            FROM attempt WHERE job_id = ? ORDER BY id
            """,
            (job_id,),
        )
    ]
    transitions = [
        dict(move)
        for move in db.execute(
            """
            SELECT from_state, to_state, event, cause, actor, at FROM transition WHERE job_id = ? ORDER BY id
            """,
            (job_id,),
        )
    ]
    return found | {"attempts_counted": found["attempts"], "attempts": attempts, "transitions": transitions}


def quarantine(
    db: sqlite3.Connection,
    *,
    source: str | None = None,
    reason: str | None = None,
    job_id: int | None = None,
    limit: int | None = None,
) -> Iterator[Row]:
    """Jobs that wait for an operator, the newest first."""
    chosen = {"state": "quarantined", "source": source, "reason": reason, "id": job_id}
    since = "SELECT max(at) FROM transition WHERE job_id = job.id AND to_state = 'quarantined'"
    for row in _pages(
        db,
        "SELECT id, source, key, reason, message, attempts, number AS attempts_made, run_id, stage, "
        f"({since}) AS quarantined_at FROM job",
        chosen,
        limit,
    ):
        yield {"job_id": row.pop("id")} | row


def open_runs(db: sqlite3.Connection) -> list[Row]:
    """Runs that are not over, each with its jobs per state: what a progress bar needs, and cheap."""
    found: dict[int, Row] = {}
    for run_id, source, kind, state, requested_at, job_state, n in db.execute(
        """
        SELECT run.id, source, type, run.state, requested_at, tally.state, n
        FROM run LEFT JOIN tally ON run_id = run.id
        WHERE finished_at IS NULL ORDER BY run.id
        """
    ):
        at = found.setdefault(
            run_id,
            {
                "id": run_id,
                "source": source,
                "type": kind,
                "state": state,
                "requested_at": requested_at,
                "jobs": dict.fromkeys(STATES, 0),
            },
        )
        if job_state in STATES:
            at["jobs"][job_state] = n
    return list(found.values())


def running_attempts(db: sqlite3.Connection) -> list[int]:
    """Ids of the attempts that are not over."""
    return [row[0] for row in db.execute("SELECT id FROM attempt WHERE outcome IS NULL")]


def interrupted(db: sqlite3.Connection, attempts: Iterable[int]) -> int:
    """How many of these attempts the farm's own end cut short."""
    (count,) = db.execute(
        "SELECT count(*) FROM attempt"
        " WHERE id IN (SELECT value FROM json_each(?)) AND outcome = 'interrupted'",
        (json.dumps(list(attempts)),),
    ).fetchone()
    return int(count)


def runs_after(db: sqlite3.Connection, last: int) -> list[int]:
    """Ids of the runs that began after this one."""
    return [row[0] for row in db.execute("SELECT id FROM run WHERE id > ? ORDER BY id", (last,))]


def measured(db: sqlite3.Connection, source: str) -> list[Row]:
    """Per stage: the reservation that follows from what the newest attempts used, and how many those were."""
    return [
        dict(row)
        for row in db.execute(
            "SELECT stage, json_array_length(samples) AS samples, cpu, memory_bytes, wall_s, updated_at "
            "FROM usage WHERE source = ? ORDER BY stage",
            (source,),
        )
    ]


def ahead(db: sqlite3.Connection, job_id: int) -> int:
    """How many ready jobs of its own source go before this one (counted up to a thousand)."""
    (count,) = db.execute(
        """
        SELECT count(*) FROM (
            SELECT 1 FROM task, (SELECT queue AS lane, priority AS rank, id AS own FROM task WHERE id = ?)
            WHERE queue = lane AND lease IS NULL AND due_at IS NULL
              AND (priority > rank OR (priority = rank AND id < own))
            LIMIT 1000)
        """,
        (job_id,),
    ).fetchone()
    return int(count)


def _pages(db: sqlite3.Connection, select: str, chosen: dict[str, Any], limit: int | None) -> Iterator[Row]:
    """Rows from the highest id down, where the columns equal what is chosen; one short query per page."""
    given = {column: value for column, value in chosen.items() if value is not None}
    where = " AND ".join(["id < :before", *(f"{column} = :{column}" for column in given)])
    before, left = 1 << 62, limit
    while left is None or left > 0:
        size = PAGE if left is None else min(PAGE, left)
        rows = db.execute(
            f"{select} WHERE {where} ORDER BY id DESC LIMIT {size}", given | {"before": before}
        ).fetchall()
        for row in rows:
            yield dict(row)
        if len(rows) < size:
            return
        before = rows[-1]["id"]
        left = None if left is None else left - size


def _loads(text: str | None) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text
