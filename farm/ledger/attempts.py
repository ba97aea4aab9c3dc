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
from farm.ledger.ids import Ids, next_id
from farm.ledger.jobs import SLICE_BYTES, Jobs

_attempt_id = attrgetter("attempt_id")
_specs = msgspec.json.Decoder(list[JobSpec])


class Attempts:
    """Part of `Ledger`: its methods take part in the caller's transaction."""

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], float], jobs: Jobs) -> None:
        self.connection = connection
        self.clock = clock
        self._jobs = jobs

    def lease(self, job_ids: Sequence[int], *, cpu: float, memory_bytes: int) -> list[JobSpec]:
        """Give these jobs an attempt each, whose id is the fence; the first one's id is the launch's."""
        now, ids = self.clock(), Ids(job_ids)
        if len(self._jobs.move(job_ids, Event.LEASE, number="number + 1")) != len(job_ids):
            raise IllegalTransition(None, Event.LEASE)
        first = next_id(self.connection, "attempt")
        given = {"attempt": first, "cpu": cpu, "memory": memory_bytes, "now": now} | ids.given
        self.connection.execute(
            "INSERT INTO attempt (id, job_id, number, launch_id, cpu, memory_bytes, started_at)"
            f" SELECT :attempt + {ids.nth('job')}, job.id, job.number, :attempt, :cpu, :memory, :now"
            f" FROM {ids.rows('job')}",
            given,
        )
        self.connection.execute(
            f"UPDATE task SET lease = :attempt + {ids.nth('task')}, due_at = NULL {ids.each('task')}",
            given,
        )
        # They come in the order of the ids, but SQLite does not promise it.
        return sorted(self._specs(ids, first), key=_attempt_id)

    def _specs(self, ids: Ids, first: int) -> list[JobSpec]:
        """In one row, as thousands would take twice as long to come to Python one by one; large ones do that."""
        given = {"attempt": first} | ids.given
        columns, rows = (
            f"job.id, :attempt + {ids.nth('job')}, stage, job.key, version, payload",
            ids.rows("job"),
        )
        size = self.connection.execute(f"SELECT total(length(payload)) FROM {rows}", ids.given).fetchone()[0]
        if size > SLICE_BYTES:
            return msgspec.convert(
                self.connection.execute(f"SELECT {columns} FROM {rows}", given).fetchall(), list[JobSpec]
            )
        found = self.connection.execute(f"SELECT json_group_array(json_array({columns})) FROM {rows}", given)
        return _specs.decode(found.fetchone()[0])

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
