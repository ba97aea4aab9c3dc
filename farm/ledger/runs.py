"""Runs: how they begin, what is counted of them, and how their state follows from their jobs.

What jobs a run has, and in which states, is kept as a tally by the moves. Whatever changes a tally touches the
run; its state is derived anew once, before the transaction ends.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from farm.core.job import TICKETED, RunState, RunType, State


@dataclass(frozen=True, slots=True)
class OpenRun:
    id: int
    active: bool
    """It has a pending or running job; else all that is left of it waits (retrying, paused)."""
    discovering: int | None
    """Its unfinished discover job, if any."""


class Runs:
    """Part of `Ledger`: its methods take part in the caller's transaction."""

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], float]) -> None:
        self.connection = connection
        self.clock = clock
        self._touched: set[int] = set()

    def create(
        self, source: str, type_: RunType, trigger: str, *, trigger_key: str | None = None, actor: str = ""
    ) -> int | None:
        """The new run's id, or None where this trigger key has had its run."""
        row = self.connection.execute(
            "INSERT INTO run (source, type, state, trigger, trigger_key, actor, requested_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (trigger_key) DO NOTHING RETURNING id",
            (source, type_, RunState.QUEUED, trigger, trigger_key, actor, self.clock()),
        ).fetchone()
        return None if row is None else int(row[0])

    def unfinished(self, source: str) -> OpenRun | None:
        """The newest unfinished run of the source."""
        row = self.connection.execute(
            "SELECT id FROM run WHERE source = ? AND finished_at IS NULL ORDER BY id DESC LIMIT 1", (source,)
        ).fetchone()
        if row is None:
            return None
        active = self.connection.execute(
            "SELECT coalesce(sum(n), 0) FROM tally WHERE run_id = ? AND state IN ('pending', 'running')", row
        ).fetchone()[0]
        discovering = self.connection.execute(
            "SELECT id FROM job WHERE source = ? AND stage = 'discover' AND key = '' AND version = ''"
            " AND finished_at IS NULL AND state <> 'quarantined'",
            (source,),
        ).fetchone()
        return OpenRun(int(row[0]), active > 0, discovering and int(discovering[0]))

    def count_documents(
        self,
        job_id: int,
        *,
        new: int = 0,
        changed: int = 0,
        deleted: int = 0,
        unchanged: int = 0,
        rejected: int = 0,
    ) -> None:
        """Add to what the job's run has done to the store."""
        if new or changed or deleted or unchanged or rejected:
            self.connection.execute(
                "UPDATE run SET documents_new = documents_new + ?, documents_changed = documents_changed + ?,"
                " documents_deleted = documents_deleted + ?, documents_unchanged = documents_unchanged + ?,"
                " documents_rejected = documents_rejected + ? WHERE id = (SELECT run_id FROM job WHERE id = ?)",
                (new, changed, deleted, unchanged, rejected, job_id),
            )

    def remark(self, job_id: int, message: str) -> None:
        """What a person should know of the job's run, whatever state it ends in."""
        self.connection.execute(
            "UPDATE run SET message = ? WHERE id = (SELECT run_id FROM job WHERE id = ?)", (message, job_id)
        )

    # -- runs follow their jobs

    def tally(self, run_id: int, state: State, n: int) -> None:
        """So many more of its jobs are in this state; fewer when negative."""
        if n:
            self.connection.execute(
                "INSERT INTO tally (run_id, state, n) VALUES (?, ?, ?)"
                " ON CONFLICT (run_id, state) DO UPDATE SET n = n + excluded.n",
                (run_id, state, n),
            )
            self._touched.add(run_id)

    def touch(self, run_id: int) -> None:
        """Have its state derived anew, though none of its jobs may have moved."""
        self._touched.add(run_id)

    def refresh(self) -> None:
        """Derive the states of the runs that were touched, in the transaction that moved their jobs."""
        for run_id in self._touched:
            counts = dict(
                self.connection.execute(
                    "SELECT state, n FROM tally WHERE run_id = ? AND n > 0", (run_id,)
                ).fetchall()
            )
            state = run_state(
                {State(name): n for name, n in counts.items()}, self._discover_failed(run_id, counts)
            )
            over = state not in (RunState.QUEUED, RunState.RUNNING, RunState.PAUSED)
            now = self.clock()
            self.connection.execute(
                "UPDATE run SET state = ?1, started_at = coalesce(started_at, CASE WHEN ?1 <> 'queued' THEN ?2 END),"
                " finished_at = CASE WHEN ?3 THEN coalesce(finished_at, ?2) END WHERE id = ?4"
                " AND (state <> ?1 OR (finished_at IS NULL) = ?3)",
                (state, now, over, run_id),
            )
        self.forget()

    def forget(self) -> None:
        """What was touched since is undone with its transaction."""
        self._touched.clear()

    def _discover_failed(self, run_id: int, counts: dict[str, int]) -> bool:
        """Also one whose quarantine was ended by the next run's listing, or by an operator who gave it up."""
        if not (counts.get(State.QUARANTINED) or counts.get(State.CANCELLED)):
            return False
        if any(counts.get(state) for state in (*TICKETED, State.PAUSED)):
            return False  # it is not over: a long run's jobs are gone through once, in its end
        row = self.connection.execute(
            "SELECT 1 FROM job WHERE run_id = ? AND stage = 'discover'"
            " AND (state = 'quarantined' OR state = 'cancelled' AND reason <> '') LIMIT 1",
            (run_id,),
        ).fetchone()
        return row is not None


def run_state(counts: dict[State, int], discover_failed: bool) -> RunState:
    """What its jobs make of a run: one bad unit makes it partial, only a failed listing makes it failed.

    >>> run_state({State.SUCCEEDED: 9, State.QUARANTINED: 1}, False)
    <RunState.PARTIAL: 'partial'>
    """
    if counts.get(State.RUNNING) or (
        counts.get(State.SUCCEEDED) and (counts.get(State.PENDING) or counts.get(State.RETRYING))
    ):
        return RunState.RUNNING
    if counts.get(State.PENDING) or counts.get(State.RETRYING):
        return RunState.QUEUED if set(counts) == {State.PENDING} else RunState.RUNNING
    if counts.get(State.PAUSED):
        return RunState.PAUSED
    if discover_failed:
        return RunState.FAILED
    if counts.get(State.QUARANTINED):
        return RunState.PARTIAL
    if not counts.get(State.SUCCEEDED) and counts.get(State.CANCELLED):
        return RunState.CANCELLED
    return RunState.PARTIAL if counts.get(State.CANCELLED) else RunState.SUCCEEDED
