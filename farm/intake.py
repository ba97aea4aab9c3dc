"""The one door: what asks for work goes through here, and is acknowledged after the commit.

One source has one run at a time. A request that comes while a run is active joins it: either what it asks
for is about to happen anyway, or the run looks once more.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from farm.core.job import Event, Priority, RunType, Stage
from farm.errors import NotPossible
from farm.ledger.jobs import NewJob
from farm.ledger.ledger import Ledger
from farm.ledger.runs import OpenRun
from farm.settings import SourceSettings

WATCHFUL = "again"
"""Key of the discover job that looks once more in a run whose first look has begun."""

EVENT_PATHS = 1_000
"""Most keys that one event job is given."""


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody wants a source pulled in. `paths`: only these unit keys (an event)."""

    source: SourceSettings
    type: RunType = RunType.INCREMENTAL
    trigger: str = "manual"
    trigger_key: str | None = None
    actor: str = ""
    paths: tuple[str, ...] | None = None
    priority: Priority | None = None
    """None: the source's own."""


@dataclass(frozen=True, slots=True)
class Answer:
    run_id: int | None
    """None: this very fire of the schedule has had its run."""
    coalesced: bool = False


def admit(ledger: Ledger, request: Request) -> Answer:
    """Write the run and its first job, or join the active run; raises NotPossible for a paused source."""
    source = request.source
    paused = ledger.connection.execute(
        "SELECT 1 FROM source WHERE name = ? AND paused_at IS NOT NULL", (source.name,)
    ).fetchone()
    if paused:
        raise NotPossible(f"{source.name} is paused: `farm sources resume {source.name}` first")
    open_run = ledger.runs.unfinished(source.name)
    if request.paths is not None:
        return _event(ledger, request, open_run)
    if open_run and open_run.discovering is not None:
        return _join_discover(ledger, request, open_run, open_run.discovering)
    if open_run and open_run.active:
        _look(ledger, request, open_run.id, WATCHFUL)
        return Answer(open_run.id, coalesced=True)
    run_id = ledger.runs.create(
        source.name, request.type, request.trigger, trigger_key=request.trigger_key, actor=request.actor
    )
    if run_id is None:
        return Answer(None, coalesced=True)
    _clear_quarantined_discover(ledger, source.name)
    _look(ledger, request, run_id, "")
    return Answer(run_id)


def _event(ledger: Ledger, request: Request, open_run: OpenRun | None) -> Answer:
    joins = open_run is not None and open_run.active
    if joins and open_run and _add_to_waiting(ledger, request):
        return Answer(open_run.id, coalesced=True)
    run_id = (
        open_run.id
        if joins and open_run
        else ledger.runs.create(
            request.source.name,
            RunType.EVENT,
            request.trigger,
            trigger_key=request.trigger_key,
            actor=request.actor,
        )
    )
    if run_id is None:
        return Answer(None, coalesced=True)
    _look(ledger, request, run_id, f"event:{ledger.jobs.next_id()}")
    return Answer(run_id, coalesced=joins)


def _add_to_waiting(ledger: Ledger, request: Request) -> bool:
    """Whether an event job that has not begun took these keys along with its own: a burst needs one look."""
    waiting = ledger.jobs.waiting_event(request.source.name, _priority(request))
    if waiting is None:
        return False
    job_id, payload = waiting
    asked = json.loads(payload)
    paths = list(dict.fromkeys([*asked["paths"], *(request.paths or ())]))
    if len(paths) > EVENT_PATHS:
        return False
    ledger.jobs.ask_otherwise(job_id, json.dumps({**asked, "paths": paths}))
    return True


def _join_discover(ledger: Ledger, request: Request, open_run: OpenRun, job_id: int) -> Answer:
    """A look is waiting or under way. A person's request is answered by a look that begins after it."""
    if request.trigger == "manual":
        state = ledger.jobs.facts([job_id])[job_id].state
        if state == "running":
            _look(ledger, request, open_run.id, WATCHFUL)
        elif state == "retrying":
            ledger.jobs.move(
                [job_id], Event.RETRY, actor=request.actor or "operator", cause="a run was asked for"
            )
    return Answer(open_run.id, coalesced=True)


def _look(ledger: Ledger, request: Request, run_id: int, key: str) -> None:
    paths = list(request.paths) if request.paths is not None else None
    payload = json.dumps({"paths": paths, "type": request.type})
    ledger.jobs.submit(
        run_id,
        request.source.name,
        [NewJob(Stage.DISCOVER, key=key, payload=payload)],
        _priority(request),
        cause=request.trigger,
        actor=request.actor or request.trigger,
    )
    ledger.runs.touch(run_id)


def _priority(request: Request) -> int:
    return int(request.source.priority if request.priority is None else request.priority)


def _clear_quarantined_discover(ledger: Ledger, source: str) -> None:
    """A listing that failed for good must not stand in the way of the next run's."""
    rows = ledger.connection.execute(
        "SELECT id FROM job WHERE source = ? AND stage = 'discover' AND state = 'quarantined'", (source,)
    ).fetchall()
    if rows:
        ledger.jobs.move([id_ for (id_,) in rows], Event.SUPERSEDE, cause="a new run lists the source again")
