"""What an operator can ask for, each verb one method, inside the ledger's transaction.

The same verbs serve a running farm (through its socket, by the dispatcher) and a farm that is down (the
command line takes the lock and opens the ledger). What only a running farm can do goes through `Live`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from farm import intake
from farm.core.job import Event, Outcome, RunType, Stage, State
from farm.errors import NotFound, NotPossible, UnknownSource
from farm.ledger.jobs import NewJob
from farm.ledger.ledger import Ledger
from farm.lines import clean
from farm.settings import SourceSettings
from farm.telemetry import Name, log

MOST_SUBMITTED = 100_000


class Live(Protocol):
    """What a running farm adds: its cells, and the end of jobs that run."""

    def interrupt(self, job_id: int, event: Event, actor: str) -> bool:
        """End a running job for an operator; False when it is past that (it is landing)."""

    def hold(self, job_id: int) -> str:
        """Why this waiting job waits, as a sentence."""

    def purge(self, source: str) -> None:
        """Remove the source's documents from the store."""

    def forget_usage(self, source: str) -> None:
        """Plan its next jobs by its declared profile."""


class Operations:
    """`perform(op, args, actor)`; raises FarmError for what the asker should read."""

    def __init__(self, ledger: Ledger, sources: Mapping[str, SourceSettings], live: Live) -> None:
        self.ledger = ledger
        self.sources = sources
        self.live = live
        self._verbs: dict[str, Callable[..., Any]] = {
            "run": self.run,
            "submit": self.submit,
            "pause_source": self.pause_source,
            "resume_source": self.resume_source,
            "remove_source": self.remove_source,
            "reset_profile": self.reset_profile,
            "cancel_jobs": self.cancel_jobs,
            "retry_jobs": self.retry_jobs,
            "discard_jobs": self.discard_jobs,
            "pause_jobs": self.pause_jobs,
            "resume_jobs": self.resume_jobs,
            "explain": self.explain,
        }

    def knows(self, op: str) -> bool:
        return op in self._verbs

    def perform(self, op: str, args: dict[str, Any], actor: str) -> Any:
        if op not in self._verbs:
            raise NotPossible(f"the farm has no operation {op!r}")
        if op != "explain":
            log(Name.OPERATOR_ASKED, op=op, actor=actor, args=json.dumps(args)[:200])
        try:
            return self._verbs[op](actor=actor, **args)
        except TypeError as error:
            if "argument" not in str(error):
                raise
            raise NotPossible(f"{op}: {error}") from None

    # -- runs

    def run(
        self, source: str, *, actor: str, type: str = "incremental", paths: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Have a source pulled in now, whatever its breaker says."""
        self._close_fuse(self._source(source).name, actor)
        answer = intake.admit(
            self.ledger,
            intake.Request(
                self._source(source),
                RunType(type),
                trigger="manual",
                actor=actor,
                paths=None if paths is None else tuple(paths),
            ),
        )
        return asdict(answer)

    def submit(
        self, source: str, jobs: Sequence[Mapping[str, Any]], *, actor: str, priority: int | None = None
    ) -> dict[str, Any]:
        """Jobs for units that the asker names: [{key, version?, data?}]; a program's way in."""
        settings = self._source(source)
        if len(jobs) > MOST_SUBMITTED:
            raise NotPossible(f"at most {MOST_SUBMITTED} jobs at once, not {len(jobs)}")
        run_id = self.ledger.runs.create(source, RunType.EVENT, "submit", actor=actor)
        assert run_id is not None
        new = [
            NewJob(
                Stage.EXTRACT,
                clean(str(job["key"])),
                clean(str(job.get("version", ""))),
                json.dumps({"data": job["data"]}) if "data" in job else '{"data":{}}',
            )
            for job in jobs
        ]
        level = int(settings.priority) if priority is None else max(0, min(2, int(priority)))
        n = self.ledger.jobs.submit(run_id, source, new, level, cause="submitted", actor=actor)
        self.ledger.runs.touch(run_id)
        return {"run_id": run_id, "new": n, "known": len(new) - n}

    # -- sources

    def pause_source(self, name: str, *, actor: str) -> dict[str, Any]:
        """Nothing of it starts until it is resumed; what runs may finish."""
        self._source(name)
        self.ledger.connection.execute(
            "INSERT INTO source (name, paused_at, paused_by) VALUES (?1, ?2, ?3)"
            " ON CONFLICT (name) DO UPDATE SET paused_at = coalesce(paused_at, ?2), paused_by = ?3",
            (name, self.ledger.clock(), actor),
        )
        log(Name.SOURCE_PAUSED, source=name, actor=actor)
        return {"paused": True}

    def resume_source(self, name: str, *, actor: str) -> dict[str, Any]:
        self._source(name)
        self.ledger.connection.execute(
            "UPDATE source SET paused_at = NULL, paused_by = '' WHERE name = ?", (name,)
        )
        self._close_fuse(name, actor)
        log(Name.SOURCE_RESUMED, source=name, actor=actor)
        return {"paused": False}

    def _close_fuse(self, name: str, actor: str) -> None:
        """The other side is said to be back: what rested for it goes on."""
        row = self.ledger.connection.execute(
            "DELETE FROM fuse WHERE source = ? RETURNING until", (name,)
        ).fetchone()
        if row is None or row[0] is None:
            return
        resting = self._select(
            "source = ? AND state = 'retrying' AND due_at <= ? AND outcome IN ('transient', 'rate_limited')",
            (name, row[0]),
        )
        self.ledger.jobs.move(resting, Event.RETRY, cause="its source's breaker was closed", actor=actor)
        log(Name.BREAKER_CLOSED, source=name, actor=actor)

    def remove_source(self, name: str, *, actor: str, purge: bool = False) -> dict[str, Any]:
        """Cancel what it has open, forget its schedule; with `purge` its documents go too."""
        ids = self._select("source = ? AND finished_at IS NULL", (name,))
        changed = self._change(ids, Event.CANCEL, actor, cause="its source was removed")
        for table, column in (
            ("schedule", "source"),
            ("usage", "source"),
            ("fuse", "source"),
            ("source", "name"),
        ):
            self.ledger.connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (name,))
        if purge:
            self.live.purge(name)
        log(Name.SOURCE_REMOVED, source=name, actor=actor, purge=purge)
        return changed

    def reset_profile(self, name: str, *, actor: str) -> dict[str, Any]:
        """Forget what its jobs were measured to need: the declared profile stands until they are measured anew."""
        self._source(name)
        self.ledger.connection.execute("DELETE FROM usage WHERE source = ?", (name,))
        self.live.forget_usage(name)
        return {"reset": True}

    # -- jobs

    def cancel_jobs(
        self, *, actor: str, ids: Sequence[int] = (), all: bool = False, source: str | None = None
    ) -> Any:
        return self._chosen(Event.CANCEL, ids, all, source, actor, "finished_at IS NULL")

    def pause_jobs(
        self, *, actor: str, ids: Sequence[int] = (), all: bool = False, source: str | None = None
    ) -> Any:
        return self._chosen(
            Event.PAUSE,
            ids,
            all,
            source,
            actor,
            "finished_at IS NULL AND state IN ('pending', 'retrying', 'running')",
        )

    def resume_jobs(
        self, *, actor: str, ids: Sequence[int] = (), all: bool = False, source: str | None = None
    ) -> Any:
        return self._chosen(Event.RESUME, ids, all, source, actor, "state = 'paused'")

    def retry_jobs(
        self, *, actor: str, ids: Sequence[int] = (), all: bool = False, source: str | None = None
    ) -> Any:
        """A fresh budget of attempts; the history stays."""
        return self._chosen(
            Event.RETRY, ids, all, source, actor, "(state = 'quarantined' OR state = 'retrying')"
        )

    def discard_jobs(
        self, *, actor: str, ids: Sequence[int] = (), all: bool = False, source: str | None = None
    ) -> Any:
        """Give up on this version of these units: it is not tried again."""
        return self._chosen(Event.DISCARD, ids, all, source, actor, "state = 'quarantined'")

    def explain(self, job_id: int, *, actor: str) -> dict[str, str]:
        if job_id not in self.ledger.jobs.facts([job_id]):
            raise NotFound(f"there is no job {job_id}")
        return {"sentence": self.live.hold(job_id)}

    # -- how

    def _source(self, name: str) -> SourceSettings:
        if name not in self.sources:
            import difflib

            raise UnknownSource(name, difflib.get_close_matches(name, self.sources))
        return self.sources[name]

    def _select(self, where: str, parameters: tuple[object, ...]) -> list[int]:
        return [
            id_ for (id_,) in self.ledger.connection.execute(f"SELECT id FROM job WHERE {where}", parameters)
        ]

    def _chosen(
        self, event: Event, ids: Sequence[int], all_: bool, source: str | None, actor: str, fitting: str
    ) -> dict[str, Any]:
        if all_:
            if source is not None:
                return self._change(self._select(f"{fitting} AND source = ?", (source,)), event, actor)
            return self._change(self._select(fitting, ()), event, actor)
        if not ids:
            raise NotPossible("name the jobs by id, or say all")
        return self._change([int(i) for i in ids], event, actor)

    def _change(
        self, ids: Iterable[int], event: Event, actor: str, cause: str = "asked for"
    ) -> dict[str, Any]:
        """Move what can be moved; say of each other one why not."""
        wanted = list(dict.fromkeys(ids))
        facts = self.ledger.jobs.facts(wanted)
        skipped = [{"id": i, "why": f"there is no job {i}"} for i in wanted if i not in facts]
        running = [i for i in facts if facts[i].state is State.RUNNING]
        resting = [i for i in facts if facts[i].state is not State.RUNNING]
        extra: dict[str, Any] = {}
        if event is Event.RETRY:
            extra = {"attempts": "0", "deaths": "0", "losses": "0", "reason": "", "message": ""}
        if event is Event.DISCARD:
            extra = {"reason": "discarded"}
        if event in (Event.CANCEL,):
            extra = {"outcome": Outcome.CANCELLED}
        quarantined = (
            [i for i in resting if facts[i].state is State.QUARANTINED] if event is Event.CANCEL else []
        )
        moved = self.ledger.jobs.move(
            [i for i in resting if i not in set(quarantined)],
            event,
            cause=cause,
            actor=actor,
            strict=False,
            **extra,
        )
        moved += self.ledger.jobs.move(
            quarantined, Event.DISCARD, cause=cause, actor=actor, reason="discarded"
        )
        asked = 0
        for i in running:
            if event in (Event.CANCEL, Event.PAUSE) and self.live.interrupt(i, event, actor):
                asked += 1
            else:
                skipped.append({"id": i, "why": f"job {i} is running"})
        done = set(moved)
        skipped += [
            {"id": i, "why": f"job {i} is {facts[i].state}, which {event} does not fit"}
            for i in resting
            if i not in done
        ]
        return {"changed": len(moved) + asked, "skipped": skipped}


class Offline:
    """The live part of a farm that is down: nothing runs, nothing holds."""

    def __init__(self, purge: Callable[[str], None]) -> None:
        self._purge = purge

    def interrupt(self, job_id: int, event: Event, actor: str) -> bool:
        return False

    def hold(self, job_id: int) -> str:
        return "the farm is not running: `farm start`"

    def purge(self, source: str) -> None:
        self._purge(source)

    def forget_usage(self, source: str) -> None:
        """There is nothing but the ledger's."""
