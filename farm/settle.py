"""Settle: what an attempt's ending makes of its job, written in the dispatcher's transaction.

A success comes here only after its content has landed. A failure is a through-state: recorded, and left in
the same transaction by a retry or by quarantine.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from farm.core import retry
from farm.core.breaker import accuses
from farm.core.job import Ending, Event, Outcome
from farm.core.lifecycle import event_of
from farm.core.profile import Profile, raised
from farm.core.retry import GoBack, Quarantine, RetryAt
from farm.ledger.jobs import JobFacts
from farm.ledger.ledger import Ledger
from farm.settings import SourceSettings
from farm.telemetry import Name, log

Intents = Mapping[int, tuple[Event, str]]
"""What an operator wants of a running job: cancel or pause, and who asked."""


class Settler:
    """Writes endings down; what follows from them is core's to decide."""

    def __init__(
        self,
        ledger: Ledger,
        settings_of: Callable[[str], SourceSettings],
        chance: Callable[[], float],
        resting_until: Callable[[str], float | None] = lambda source: None,
    ) -> None:
        """`resting_until`: when the open breaker of this source tries again."""
        self.ledger = ledger
        self.settings_of = settings_of
        self.chance = chance
        self.resting_until = resting_until

    def succeeded(self, endings: Sequence[Ending]) -> None:
        """These jobs are done, and their content, if any, has landed. A message is what a listing warned of."""
        if not endings:
            return
        self.ledger.attempts.close(endings)
        done = defaultdict[str, list[int]](list)
        for ending in endings:
            done[ending.message].append(ending.job_id)
        for message, ids in done.items():
            self.ledger.jobs.move(
                ids,
                Event.SUCCEED,
                outcome=Outcome.SUCCEEDED,
                reason="",
                message=message,
                attempts="attempts + 1",
            )

    def failed(self, endings: Sequence[Ending], intents: Intents = {}) -> None:  # noqa: B006 - never written to
        """These attempts did not succeed. An operator's intent outranks the retry policy."""
        if not endings:
            return
        self.ledger.attempts.close(endings)
        facts = self.ledger.jobs.facts([e.job_id for e in endings])
        back: dict[tuple[Outcome, str], list[int]] = defaultdict(list)
        for ending in endings:
            job = facts[ending.job_id]
            intent = intents.get(job.id)
            if ending.outcome is Outcome.CANCELLED or (intent and ending.outcome is Outcome.INTERRUPTED):
                event, actor = intent or (Event.CANCEL, "farm")
                self.ledger.jobs.move([job.id], event, cause="asked for", actor=actor, outcome=ending.outcome)
            elif self._verdict(job, ending) is None:
                back[ending.outcome, ending.message].append(job.id)
        for (outcome, message), ids in back.items():
            lost = outcome is Outcome.LOST
            self.ledger.jobs.move(
                ids,
                Event.LOSE if lost else Event.INTERRUPT,
                cause=message,
                outcome=outcome,
                losses="losses + 1" if lost else "",
            )

    def _verdict(self, job: JobFacts, ending: Ending) -> RetryAt | Quarantine | None:
        """Fail the job and move it on; None when it goes straight back instead."""
        settings = self.settings_of(job.source)
        counted = retry.counter(ending.outcome)
        verdict = retry.after(
            ending.outcome,
            attempts=job.attempts + (counted == "attempts"),
            deaths=job.deaths + (counted == "deaths"),
            losses=job.losses + (counted == "losses"),
            policy=settings.retry,
            now=self.ledger.clock(),
            chance=self.chance(),
            retry_after_s=ending.retry_after_s,
            reason=ending.reason,
            message=ending.message,
            memory_bytes=_more_memory(settings.profile, job, ending),
            resting_until=(
                self.resting_until(job.source) if accuses(ending.outcome, ending.unavailable) else None
            ),
        )
        if isinstance(verdict, GoBack):
            return None
        costs = isinstance(verdict, Quarantine) or verdict.costs_attempt
        self.ledger.jobs.move(
            [job.id],
            Event.CRASH if ending.outcome is Outcome.LOST else event_of(ending.outcome),
            cause=ending.message,
            outcome=ending.outcome,
            message=ending.message,
            attempts="attempts + 1" if counted == "attempts" and costs else "",
            deaths="deaths + 1" if counted == "deaths" else "",
            losses="losses + 1" if counted == "losses" else "",
        )
        if isinstance(verdict, RetryAt):
            self.ledger.jobs.move([job.id], Event.RETRY, due_at=verdict.at, memory_bytes=verdict.memory_bytes)
        else:
            self.ledger.jobs.move(
                [job.id],
                Event.QUARANTINE,
                reason=verdict.reason,
                cause=verdict.message,
                message=verdict.message,
            )
            if ending.outcome is Outcome.INVALID_INPUT:
                self.ledger.runs.count_documents(job.id, rejected=1)
            log(
                Name.JOB_QUARANTINED,
                job=job.id,
                source=job.source,
                reason=verdict.reason,
                message=verdict.message,
            )
        log(
            Name.ATTEMPT_FINISHED,
            job=job.id,
            source=job.source,
            outcome=ending.outcome,
            held_s=ending.usage.wall_s,
            message=ending.message,
        )
        return verdict


def _more_memory(profile: Profile, job: JobFacts, ending: Ending) -> int | None:
    """After out_of_memory the next attempt reserves more."""
    if ending.outcome is not Outcome.OUT_OF_MEMORY:
        return None
    return raised(profile, job.memory_bytes or profile.memory_bytes, ending.usage.memory_peak_bytes)
