"""Jobs: how they come in, and the one way in which their states change.

- A job changes its state by `move` and by nothing else: the table of core.lifecycle says what is legal, the
  transition is written in the same transaction, and so are the tally and the ticket.
- Everything works on many jobs at once, by statements over their ids (`ids.Ids`): one job costs what SQLite
  needs for its rows, not what Python needs for a call.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from farm.core.job import FINAL, Event, Outcome, Stage, State
from farm.core.lifecycle import IllegalTransition, move
from farm.ledger.ids import Ids, next_id
from farm.ledger.runs import Runs
from farm.ledger.tickets import Tickets


class NewJob(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What a job is made of. No text has a NUL in it (`farm.lines.clean`), which SQLite's JSON would cut off."""

    stage: Stage
    key: str = ""
    version: str = ""
    payload: str = "null"


SLICE_BYTES = 4 * 1024 * 1024
"""So much of payloads goes through SQLite as one value, whose bounds a listing must not meet."""
_encode = msgspec.json.Encoder().encode
_SUBMIT_SQL = (
    "INSERT INTO job (id, run_id, source, stage, key, version, payload, state, priority, listed, created_at,"
    " updated_at) SELECT :first + j.key, :run, :source, j.value ->> 0, j.value ->> 1, j.value ->> 2, j.value ->> 3,"
    " 'pending', :priority, :newest, :now, :now FROM json_each(:jobs) AS j"
    " WHERE NOT (j.value ->> 2 <> ''"
    "  AND EXISTS (SELECT 1 FROM job WHERE source = :source AND state = 'cancelled' AND reason = 'discarded')"
    "  AND EXISTS (SELECT 1 FROM job WHERE source = :source AND key = j.value ->> 1 AND version = j.value ->> 2"
    "   AND state = 'cancelled' AND reason = 'discarded'))"
    " ON CONFLICT (source, stage, key, version) WHERE finished_at IS NULL"
    " DO UPDATE SET listed = coalesce(excluded.listed, listed)"
)
"""All of them at once, as a JSON array: bound one by one, they would take twice as long. Mostly a source has no
discarded job at all, which is looked up once."""


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What a decision about a job needs to know."""

    id: int
    run_id: int
    source: str
    stage: Stage
    key: str
    state: State
    attempts: int
    deaths: int
    losses: int
    memory_bytes: int
    priority: int


class Jobs:
    """Part of `Ledger`: its methods take part in the caller's transaction."""

    def __init__(
        self, connection: sqlite3.Connection, clock: Callable[[], float], runs: Runs, tickets: Tickets
    ) -> None:
        self.connection = connection
        self.clock = clock
        self._runs = runs
        self._tickets = tickets

    # -- jobs come in

    def next_id(self) -> int:
        """The id that the next submitted job will get."""
        return next_id(self.connection, "job")

    def submit(
        self,
        run_id: int,
        source: str,
        jobs: Sequence[NewJob],
        priority: int,
        *,
        cause: str = "",
        actor: str = "farm",
        listed: bool = False,
    ) -> int:
        """How many of the jobs are new. Of the others an unfinished twin exists or this version was discarded.

        `listed`: a listing names these units; see `cancel_unlisted`.
        """
        now = self.clock()
        first = self.next_id()
        ids = Ids(range(first, first + len(jobs)))
        newest = next_id(self.connection, "attempt") - 1 if listed else None
        given = {"run": run_id, "source": source, "priority": priority, "newest": newest, "now": now}
        for offset, some in _slices(jobs):
            self.connection.execute(_SUBMIT_SQL, {"first": first + offset, "jobs": some} | given)
        new = self._count(ids)
        if not new:
            return 0
        self._tickets.insert(ids, due_at=None)
        self._note(ids, None, State.PENDING, Event.SUBMIT, cause, actor, now)
        self._runs.tally(run_id, State.PENDING, new)
        if any(job.stage is Stage.EXTRACT and job.version for job in jobs):
            self._supersede_older(ids.all[0], ids.all[-1])
        return new

    def cancel_unlisted(self, source: str, listing: int, unread: Sequence[str] = ()) -> None:
        """A complete listing, this attempt, did not name these units: what waits for them is over.

        Of those whose keys begin as one of `unread` it knows nothing.

        What a listing named after this one began is let be. Attempts tell before from after, not times: a clock
        may be set back in the middle of a listing.
        """
        rows = self.connection.execute(
            "SELECT id FROM job WHERE source = ? AND stage = 'extract' AND listed < ?"
            " AND finished_at IS NULL AND state <> 'running'"
            " AND NOT EXISTS (SELECT 1 FROM json_each(?) AS p WHERE substr(job.key, 1, length(p.value)) = p.value)",
            (source, listing, json.dumps(list(unread))),
        ).fetchall()
        if rows:
            self.move([id_ for (id_,) in rows], Event.SUPERSEDE, cause="its unit is gone")

    def _supersede_older(self, first: int, last: int) -> None:
        """A unit's newer version takes the place of what still waits for an older one."""
        older = self.connection.execute(
            "SELECT old.id FROM job AS new CROSS JOIN job AS old ON old.source = new.source AND old.stage = new.stage"
            " AND old.key = new.key AND old.version <> new.version"
            " AND old.finished_at IS NULL AND old.state <> 'running'"
            " WHERE new.id BETWEEN ? AND ? AND old.id < ?",
            (first, last, first),
        ).fetchall()
        if older:
            self.move([id_ for (id_,) in older], Event.SUPERSEDE, cause="a newer version of the unit came")

    # -- an event job that waits takes more along

    def waiting_event(self, source: str, priority: int) -> tuple[int, str] | None:
        """Id and payload of the newest event job of at least this priority that no worker has been given."""
        row = self.connection.execute(
            "SELECT id, payload FROM job WHERE source = ? AND stage = 'discover' AND key > 'event:' AND key < 'event;'"
            " AND finished_at IS NULL AND state = 'pending' AND priority >= ?"
            " ORDER BY id DESC LIMIT 1",
            (source, priority),
        ).fetchone()
        return row and (int(row[0]), str(row[1]))

    def ask_otherwise(self, job_id: int, payload: str) -> None:
        """Give a job that is still pending another payload."""
        self.connection.execute(
            "UPDATE job SET payload = ?, updated_at = ? WHERE id = ? AND state = 'pending'",
            (payload, self.clock(), job_id),
        )

    # -- what is known of them

    def facts(self, job_ids: Sequence[int]) -> dict[int, JobFacts]:
        ids = Ids(job_ids)
        rows = self.connection.execute(
            "SELECT job.id, run_id, source, stage, job.key, state, attempts, deaths, losses, memory_bytes,"
            f" priority FROM {ids.rows('job')}",
            ids.given,
        )
        return {r[0]: JobFacts(r[0], r[1], r[2], Stage(r[3]), r[4], State(r[5]), *r[6:]) for r in rows}

    # -- the one way a job's state changes

    def move(
        self,
        job_ids: Iterable[int],
        event: Event,
        *,
        cause: str = "",
        actor: str = "farm",
        due_at: float | None = None,
        strict: bool = True,
        outcome: Outcome | None = None,
        reason: str | None = None,
        message: str | None = None,
        memory_bytes: int | None = None,
        attempts: str = "",
        deaths: str = "",
        losses: str = "",
        number: str = "",
    ) -> list[int]:
        """Move these jobs by this event; the ids that moved.

        An event that is illegal in a job's state raises IllegalTransition and changes nothing; with
        `strict=False` such a job is passed over. `attempts`, `deaths`, `losses`, `number` are SQL
        expressions ("attempts + 1", "0").
        """
        now, ids = self.clock(), Ids(job_ids)
        columns = {"outcome": outcome, "reason": reason, "message": message, "memory_bytes": memory_bytes}
        given = {name: value for name, value in columns.items() if value is not None}
        counters = {"attempts": attempts, "deaths": deaths, "losses": losses, "number": number}
        counted = [f"{name} = {expression}" for name, expression in counters.items() if expression]
        counts = self._counts(ids)
        targets = _targets(dict.fromkeys(state for state, _ in counts), event, strict=strict)
        moved: list[int] = []
        for state, some in self._by_state(ids, counts).items():
            to = targets.get(state)
            if to is None:
                continue
            moves = {"state": to, "due_at": due_at, "updated_at": now, **given}
            if to in FINAL:
                moves["finished_at"] = now
            self.connection.execute(
                f"UPDATE job SET {', '.join([*(f'{name} = :{name}' for name in moves), *counted])}"
                f" WHERE {some.are('id')}",
                moves | some.given,
            )
            self._note(some, state, to, event, cause, actor, now)
            self._tickets.follow(state, to, some, due_at)
            moved += some.all
        for (state, run_id), n in counts.items():
            if state in targets:
                self._runs.tally(run_id, state, -n)
                self._runs.tally(run_id, targets[state], n)
        return moved

    def _note(
        self, ids: Ids, was: State | None, to: State, event: Event, cause: str, actor: str, now: float
    ) -> None:
        """The transition of each of them that there is."""
        self.connection.execute(
            "INSERT INTO transition (job_id, from_state, to_state, event, cause, actor, at)"
            f" SELECT job.id, :was, :to, :event, :cause, :actor, :now FROM {ids.rows('job')}",
            {"was": was, "to": to, "event": event, "cause": cause, "actor": actor, "now": now} | ids.given,
        )

    def _count(self, ids: Ids) -> int:
        """How many of them there are."""
        return int(
            self.connection.execute(f"SELECT count(*) FROM {ids.rows('job')}", ids.given).fetchone()[0]
        )

    def _counts(self, ids: Ids) -> dict[tuple[State, int], int]:
        """How many of them there are, by state and run."""
        if ids.run:  # mostly they are all alike, and need not be sorted
            kinds = self.connection.execute(
                f"SELECT DISTINCT state, run_id FROM {ids.rows('job')}", ids.given
            ).fetchall()
            if len(kinds) == 1:
                return {(State(kinds[0][0]), kinds[0][1]): self._count(ids)}
        rows = self.connection.execute(
            f"SELECT state, run_id, count(*) FROM {ids.rows('job')} GROUP BY state, run_id", ids.given
        )
        return {(State(state), run_id): n for state, run_id, n in rows}

    def _by_state(self, ids: Ids, counts: Mapping[tuple[State, int], int]) -> dict[State, Ids]:
        """Those of them that there are, before any of them moves."""
        totals: Counter[State] = Counter()
        for (state, _), n in counts.items():
            totals[state] += n
        sql = f"SELECT id FROM job WHERE {ids.are('id')} AND state = :state ORDER BY id"
        return {
            state: ids
            if n == len(ids)
            else Ids(id_ for (id_,) in self.connection.execute(sql, {"state": state} | ids.given))
            for state, n in totals.items()
        }


def _slices(jobs: Iterable[NewJob]) -> Iterator[tuple[int, str]]:
    """The jobs as JSON arrays of some megabytes, each with the place of its first job."""
    start, size, some = 0, 0, list[bytes]()
    for n, job in enumerate(jobs):
        raw = _encode(job)
        if b"\\u0000" in raw and any("\0" in text for text in (job.key, job.version, job.payload)):
            raise ValueError(f"a job's texts hold no NUL, and those of {job.key!r} do")
        if some and size + len(raw) > SLICE_BYTES:
            yield start, f"[{b','.join(some).decode()}]"
            start, size, some = n, 0, []
        some.append(raw)
        size += len(raw)
    yield start, f"[{b','.join(some).decode()}]"


def _targets(states: Iterable[State], event: Event, *, strict: bool) -> dict[State, State]:
    """Where this event leads from these states; without those in which it is illegal, or raises for them."""
    targets: dict[State, State] = {}
    for state in states:
        try:
            targets[state] = move(state, event)
        except IllegalTransition:
            if strict:
                raise
    return targets
