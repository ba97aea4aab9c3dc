"""The ledger's invariants. Each is a query for the rows that break it, all inside one read transaction, so
that a farm at work is seen at one moment, between two of its commits."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from farm import sqlite
from farm.core.job import FINAL, TICKETED
from farm.core.lifecycle import arrows
from farm.doctor.finding import MOST, Finding, judged
from farm.errors import FarmError, NewerSchema
from farm.ledger.ledger import SCHEMA_VERSION
from farm.words import plural, span

SLOW_BYTES = 512 * 1024 * 1024
"""A larger file gets quick_check, which does not compare indexes with their tables."""

_SCHEMA = Path(sqlite.__file__).with_name("ledger") / "schema.sql"


def _words(values: Iterable[str]) -> str:
    return ", ".join(sorted(f"'{value}'" for value in values))


_TICKETED, _FINAL = _words(TICKETED), _words(FINAL)
_LEGAL = _words(f"{before or ''}>{event}>{after}" for before, event, after in arrows())

RULES: tuple[tuple[str, str], ...] = (
    (
        "every job has transitions",
        "SELECT 'job ' || id FROM job WHERE NOT EXISTS (SELECT 1 FROM transition WHERE job_id = job.id)",
    ),
    (
        "every transition is legal",
        "SELECT 'job ' || job_id || ': ' || coalesce(from_state, 'new') || ' -' || event || '-> ' || to_state"
        f" FROM transition WHERE coalesce(from_state, '') || '>' || event || '>' || to_state NOT IN ({_LEGAL})",
    ),
    (
        "every transition begins where the one before it ended",
        "SELECT 'job ' || job_id || ': ' || coalesce(before, 'new') || ', then ' || coalesce(from_state, 'new')"
        " || ' -' || event || '-> ' || to_state FROM (SELECT job_id, from_state, event, to_state,"
        " lag(to_state) OVER (PARTITION BY job_id ORDER BY id) AS before FROM transition)"
        " WHERE from_state IS NOT before",
    ),
    (
        "every job is where its last transition led",
        "SELECT 'job ' || id || ' is ' || state || ', not ' || last FROM (SELECT id, state,"
        " (SELECT to_state FROM transition WHERE job_id = job.id ORDER BY id DESC LIMIT 1) AS last FROM job)"
        " WHERE last <> state",
    ),
    (
        "every transition is of a job",
        "SELECT DISTINCT 'job ' || job_id FROM transition"
        " WHERE NOT EXISTS (SELECT 1 FROM job WHERE id = job_id)",
    ),
    (
        "no job has two running attempts",
        "SELECT 'job ' || job_id FROM attempt WHERE outcome IS NULL GROUP BY job_id HAVING count(*) > 1",
    ),
    (
        "every running attempt is of a running job",
        "SELECT 'attempt ' || attempt.id || ' of job ' || job_id || ' (' || coalesce(state, 'no such job') || ')'"
        " FROM attempt LEFT JOIN job ON job.id = job_id WHERE attempt.outcome IS NULL AND state IS NOT 'running'",
    ),
    (
        "every running job has a running attempt",
        "SELECT 'job ' || id FROM job WHERE state = 'running'"
        " AND NOT EXISTS (SELECT 1 FROM attempt WHERE job_id = job.id AND outcome IS NULL)",
    ),
    (
        "every job that succeeded has an attempt that did",
        "SELECT 'job ' || id FROM job WHERE state = 'succeeded'"
        " AND NOT EXISTS (SELECT 1 FROM attempt WHERE job_id = job.id AND outcome = 'succeeded')",
    ),
    (
        "every ticket is of a job",
        "SELECT 'ticket ' || id FROM task WHERE NOT EXISTS (SELECT 1 FROM job WHERE job.id = task.id)",
    ),
    (
        "every job that may run has a ticket",
        f"SELECT 'job ' || id || ' (' || state || ')' FROM job WHERE state IN ({_TICKETED})"
        " AND NOT EXISTS (SELECT 1 FROM task WHERE task.id = job.id)",
    ),
    (
        "no other job has a ticket",
        "SELECT 'job ' || id || ' (' || state || ')' FROM task JOIN job USING (id)"
        f" WHERE state NOT IN ({_TICKETED})",
    ),
    (
        "every ticket is in its source's lane",
        "SELECT 'job ' || id || ' of ' || source || ' in ' || queue FROM task JOIN job USING (id)"
        " WHERE queue <> source",
    ),
    (
        "every lease is of its job's running attempt",
        "SELECT 'job ' || id || ' (attempt ' || lease || ')' FROM task WHERE lease IS NOT NULL AND NOT EXISTS"
        " (SELECT 1 FROM attempt WHERE attempt.id = lease AND job_id = task.id AND outcome IS NULL)",
    ),
    (
        "every running job's ticket is leased, and no other",
        "SELECT 'job ' || id || ' (' || state || ')' FROM task JOIN job USING (id)"
        " WHERE (lease IS NOT NULL) <> (state = 'running')",
    ),
    (
        "every retrying job has a due time, and no other waits for one",
        "SELECT 'job ' || id FROM job WHERE state = 'retrying' AND due_at IS NULL UNION ALL"
        " SELECT 'job ' || id || ' (' || state || ')' FROM task JOIN job USING (id)"
        " WHERE task.due_at IS NOT NULL AND state <> 'retrying'",
    ),
    (
        "every quarantined job has a reason",
        "SELECT 'job ' || id FROM job WHERE state = 'quarantined' AND reason = ''",
    ),
    (
        "the tallies count the jobs",
        "WITH counted AS (SELECT run_id, state, count(*) AS n FROM job GROUP BY run_id, state),"
        " kept AS (SELECT run_id, state, n FROM tally WHERE n <> 0)"
        " SELECT 'run ' || run_id || ': ' || state || ' ' || n || ' counted' FROM"
        " (SELECT * FROM counted EXCEPT SELECT * FROM kept) UNION ALL"
        " SELECT 'run ' || run_id || ': ' || state || ' ' || n || ' kept' FROM"
        " (SELECT * FROM kept EXCEPT SELECT * FROM counted)",
    ),
    (
        "the totals are the sums of the tallies",
        "WITH summed AS (SELECT source, tally.state, sum(n) AS n FROM tally JOIN run ON run.id = run_id GROUP BY 1, 2)"
        " SELECT source || ': ' || state || ' ' || coalesce(total.n, 'none') || ', not ' || coalesce(summed.n, 0)"
        " FROM summed FULL JOIN total USING (source, state) WHERE coalesce(summed.n, 0) <> coalesce(total.n, 0)",
    ),
    (
        "every run is over when its jobs are",
        "SELECT 'run ' || id || ' (' || state || ')' FROM run WHERE finished_at IS NOT NULL AND EXISTS"
        f" (SELECT 1 FROM job WHERE run_id = run.id AND state NOT IN ({_FINAL}, 'quarantined'))",
    ),
)

NEWEST: tuple[tuple[str, str], ...] = (
    (
        "every job that is over says since when, and no other",
        "SELECT 'job ' || id || ' (' || state || ')' FROM job"
        f" WHERE (finished_at IS NOT NULL) <> (state IN ({_FINAL}))",
    ),
)
"""Rules about what only the current schema has."""


def examine(path: Path) -> Iterator[Finding]:
    """All checks of this ledger; of a damaged one only that it is damaged."""
    if not path.exists():
        yield Finding("ledger", True, "nothing has happened yet")
        return
    began = time.monotonic()
    try:
        with closing(sqlite.open_reader(path)) as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA_VERSION:
                yield Finding("ledger", False, str(NewerSchema(path, version, SCHEMA_VERSION)))
                return
            db.execute("PRAGMA cache_size = -65536")
            db.execute("BEGIN")
            whole = _integrity(db, path)
            yield whole
            if whole.ok:
                current = version == SCHEMA_VERSION
                if current:
                    yield judged("the ledger has its tables, indexes and triggers", list(_lacking(db)))
                for check, sql in RULES + (NEWEST if current else ()):
                    yield judged(check, [row[0] for row in db.execute(f"{sql} LIMIT {MOST + 1}")])
                yield Finding("ledger", True, _size(db, time.monotonic() - began))
    except (FarmError, sqlite3.DatabaseError) as error:
        yield Finding("ledger", False, str(error))


def open_attempts(path: Path) -> int:
    """How many attempts have no outcome."""
    with closing(sqlite.open_reader(path)) as db:
        return int(db.execute("SELECT count(*) FROM attempt WHERE outcome IS NULL").fetchone()[0])


def _integrity(db: sqlite3.Connection, path: Path) -> Finding:
    pragma = "quick_check" if path.stat().st_size > SLOW_BYTES else "integrity_check"
    wrong = [row[0] for row in db.execute(f"PRAGMA {pragma}(20)") if row[0] != "ok"]
    wrong += [
        f"{table} {row} names a {parent} that is not there"
        for table, row, parent, _ in db.execute("PRAGMA foreign_key_check").fetchmany(20)
    ]
    return judged("the ledger's file is whole", wrong, pragma)


def _lacking(db: sqlite3.Connection) -> Iterator[str]:
    """Tables, indexes and triggers that are missing or different from the schema's."""
    with closing(sqlite3.connect(":memory:")) as fresh:
        fresh.executescript(_SCHEMA.read_text(encoding="utf-8"))
        wanted = _shapes(fresh)
    found = _shapes(db)
    for name, shape in wanted.items():
        if name not in found:
            yield f"{name} is missing"
        elif found[name] != shape:
            yield f"{name} is not what it should be"


def _shapes(db: sqlite3.Connection) -> dict[str, object]:
    """By name: a table's columns (a migrated one may be written otherwise), of the others the definition."""
    shapes: dict[str, object] = {}
    for kind, name, sql in db.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"):
        if kind == "table":
            columns = db.execute("SELECT name FROM pragma_table_info(?)", (name,))
            shapes[name] = {column for (column,) in columns}
        elif kind in ("index", "trigger"):
            shapes[name] = re.sub(r"\s+", " ", sql)
    return shapes


def _size(db: sqlite3.Connection, took_s: float) -> str:
    jobs, transitions = (
        db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("job", "transition")
    )
    return f"{plural(jobs, 'job')}, {plural(transitions, 'transition')}, examined in {span(took_s)}"
