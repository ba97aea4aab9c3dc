"""Why a job waits, or what became of it: one sentence from what the ledger knows. Pure.

What only the running farm knows, such as why a ready job does not fit the budget, the farm itself adds
(the operation `explain` of the control socket).
"""

from __future__ import annotations

from typing import Any

from farm.words import ordinal, plural, span, when

Row = dict[str, Any]


def explain(job: Row, source: Row | None, *, ahead: int, now: float, running: bool) -> str:
    """`job` as `views.job` has it, `source` as `views.sources` does; `running`: whether a farm is."""
    match job["state"]:
        case "succeeded":
            return _succeeded(job, now)
        case "cancelled":
            return _cancelled(job, now)
        case "quarantined":
            return _quarantined(job, now)
        case "paused":
            move = _last(job, "paused")
            return (
                f"it is paused by {_who(move)} since {when(move['at'], now)}:"
                f" `farm jobs resume {job['id']}` lets it go on"
            )
        case "running":
            return _running(job, now, running)
    if source and source["paused_at"]:
        who = source["paused_by"] or "the operator"
        return (
            f"its source {job['source']} is paused by {who} since {when(source['paused_at'], now)}:"
            f" `farm sources resume {job['source']}` lets it go on"
        )
    if job["state"] == "retrying":
        return _retrying(job, now, running)
    if not running:
        return "it waits for the farm: start it with `farm start`"
    if ahead:
        many = "1,000 or more jobs" if ahead >= 1000 else plural(ahead, "job")
        return f"it is ready and waits its turn, with {many} of {job['source']} before it"
    return "it is ready and next in its lane"


def _succeeded(job: Row, now: float) -> str:
    last = job["attempts"][-1] if job["attempts"] else None
    if last is None:
        return "it succeeded"
    took = f", in {span(last['wall_s'])}" if last["wall_s"] is not None else ""
    return f"it succeeded at its {ordinal(last['number'])} attempt, {when(last['ended_at'], now)}{took}"


def _cancelled(job: Row, now: float) -> str:
    move = _last(job, "cancelled")
    verb = {"discard": "discarded", "supersede": "superseded"}.get(move["event"], "cancelled")
    cause = f": {move['cause']}" if move["cause"] else ""
    return f"it was {verb} by {_who(move)} {when(move['at'], now)}{cause}"


def _quarantined(job: Row, now: float) -> str:
    move = _last(job, "quarantined")
    after = plural(len(job["attempts"]), "attempt")
    message = f": {job['message']}" if job["message"] else ""
    return (
        f"it is in quarantine since {when(move['at'], now)} for {job['reason'] or 'unknown'}"
        f" after {after}{message}; `farm quarantine show {job['id']}` has the evidence,"
        f" `farm jobs retry {job['id']}` tries again"
    )


def _running(job: Row, now: float, running: bool) -> str:
    last = job["attempts"][-1] if job["attempts"] else None
    number = f"its {ordinal(last['number'])} attempt" if last else "an attempt"
    if not running:
        return f"{number} was cut off when the farm ended: the next `farm start` takes it up again"
    return f"{number} runs for {span(now - last['started_at'])}" if last else f"{number} runs"


def _retrying(job: Row, now: float, running: bool) -> str:
    why = job["message"] or job["outcome"] or "its last attempt failed"
    number = ordinal(len(job["attempts"]) + 1)
    if job["due_at"] and job["due_at"] > now:
        due = f"is due {when(job['due_at'], now)}"
    else:
        due = "is due now" if running else "is due as soon as the farm is started"
    return f"its {number} attempt {due}; the last one ended as {job['outcome'] or 'failed'}: {why}"


def _last(job: Row, state: str) -> Row:
    """The move that brought it to this state; an empty one where the ledger has none."""
    moves = [move for move in job["transitions"] if move["to_state"] == state]
    return moves[-1] if moves else {"event": "", "cause": "", "actor": "", "at": job["updated_at"]}


def _who(move: Row) -> str:
    return {"": "somebody", "farm": "the farm", "recovery": "the farm"}.get(move["actor"], str(move["actor"]))
