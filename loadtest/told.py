"""What the ledger of a stopped farm tells the record."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from loadtest.record import Event


def told(path: Path) -> Iterator[tuple[str, Event]]:
    """What the ledger of a stopped farm says of its jobs and attempts.

    The n-th lease of a job began its n-th attempt: so each attempt gets the moment of its lease, from which
    on it holds what it reserved. Jobs that only ever waited are told as a number.
    """
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    db.row_factory = sqlite3.Row
    for row in db.execute(
        "SELECT id, run_id AS run, source, stage, key, priority, state, attempts, deaths, reason, created_at FROM job"
        " WHERE (number > 0 OR state <> 'pending') AND key NOT GLOB 'warm-*' ORDER BY id"
    ):
        yield "job", dict(row)
    waiting = db.execute(
        "SELECT source, count(*) AS jobs, min(created_at) AS since FROM job"
        " WHERE number = 0 AND state = 'pending' GROUP BY source"
    )
    for row in waiting:
        yield "waiting", dict(row)
    for row in db.execute(
        """
        SELECT attempt.id, attempt.job_id AS job, attempt.launch_id AS launch, attempt.cpu, attempt.memory_bytes,
               lease.at AS leased, attempt.started_at AS started, attempt.ended_at AS ended, attempt.outcome,
               attempt.wall_s, attempt.cpu_s, attempt.memory_peak_bytes
        FROM attempt JOIN (
            SELECT job_id, at, row_number() OVER (PARTITION BY job_id ORDER BY id) AS number
            FROM transition WHERE event = 'lease') AS lease
        ON lease.job_id = attempt.job_id AND lease.number = attempt.number
        JOIN job ON job.id = attempt.job_id AND job.key NOT GLOB 'warm-*'
        ORDER BY attempt.id
        """
    ):
        yield "attempt", dict(row)
    db.close()
