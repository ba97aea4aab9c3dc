"""Attempts: a lease begins one, its outcome closes it. An attempt's id is the fence, and only grows."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter

import msgspec

from farm.core.job import Ending, Event, JobSpec, Outcome
from farm.core.lifecycle import IllegalTransition
from farm.ledger.ids import array, next_id
from farm.ledger.jobs import Jobs
from farm.ledger.tickets import STAGES

_attempt_id = attrgetter("attempt_id")


class Attempts:
    """Part of `Ledger`: its methods take part in the caller's transaction."""

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], float], jobs: Jobs) -> None:
        self.connection = connection
        self.clock = clock
        self._jobs = jobs

    def lease(self, job_ids: Sequence[int], *, cpu: float, memory_bytes: int) -> list[JobSpec]:
        """Give these jobs an attempt each, whose id is the fence; the first one's id is the launch's."""
        now, ids, first = self.clock(), array(job_ids), next_id(self.connection, "attempt")
        if len(self._jobs.move(job_ids, Event.LEASE, number="number + 1")) != len(job_ids):
            raise IllegalTransition(None, Event.LEASE)
        self.connection.execute(
            "INSERT INTO attempt (id, job_id, number, launch_id, cpu, memory_bytes, started_at)"
            " SELECT ? + j.key, job.id, job.number, ?, ?, ?, ? FROM json_each(?) AS j"
            " CROSS JOIN job ON job.id = j.value",
            (first, first, cpu, memory_bytes, now, ids),
        )
        self.connection.execute(
            "UPDATE task SET lease = ? + j.key, due_at = NULL FROM json_each(?) AS j WHERE task.id = j.value",
            (first, ids),
        )
        rows = self.connection.execute(
            "SELECT job.id, ? + j.key, stage, job.key, version, payload FROM json_each(?) AS j"
            " CROSS JOIN job ON job.id = j.value",
            (first, ids),
        )
        specs = [
            JobSpec(i, a, STAGES[stage], key, version, payload) for i, a, stage, key, version, payload in rows
        ]
        specs.sort(key=_attempt_id)  # as they come, but SQLite does not promise it
        return specs

    def close(self, endings: Iterable[Ending]) -> None:
        """Write down how these attempts ended and what they used."""
        now = self.clock()
        by_outcome: dict[Outcome, list[Ending]] = defaultdict(list)
        for ending in endings:
            by_outcome[ending.outcome].append(ending)
            if ending.exit is not None or ending.signal is not None or ending.evidence is not None:
                self._keep_evidence(ending)
        for outcome, alike in by_outcome.items():
            name = outcome.value
            self.connection.executemany(
                "UPDATE attempt SET ended_at = ?, outcome = ?, wall_s = ?, cpu_s = ?, memory_peak_bytes = ?,"
                " message = ?, started_at = coalesce(nullif(?, 0.0), started_at) WHERE id = ? AND outcome IS NULL",
                [
                    (
                        now,
                        name,
                        e.usage.wall_s,
                        e.usage.cpu_s,
                        e.usage.memory_peak_bytes,
                        e.message,
                        e.started_at,
                        e.attempt_id,
                    )
                    for e in alike
                ],
            )

    def _keep_evidence(self, ending: Ending) -> None:
        """How the process of an attempt that is about to be closed ended, and what it left."""
        evidence = ending.evidence and json.dumps(msgspec.structs.asdict(ending.evidence))
        self.connection.execute(
            "UPDATE attempt SET exit = ?, signal = ?, evidence = ? WHERE id = ? AND outcome IS NULL",
            (ending.exit, ending.signal, evidence, ending.attempt_id),
        )

    def newest(self) -> int:
        """The number of the newest attempt; the next one gets a larger one."""
        return next_id(self.connection, "attempt") - 1

    def number_on(self, attempt_id: int) -> None:
        """The next attempt gets a number past this one."""
        self.connection.execute("DELETE FROM sqlite_sequence WHERE name = 'attempt'")
        self.connection.execute(
            "INSERT INTO sqlite_sequence (name, seq) VALUES ('attempt', ?)", (attempt_id,)
        )
