"""A source at work: its settings, what its jobs were measured to need, and what it has been served."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

from msgspec.structs import astuple

from farm.core import breaker
from farm.core.breaker import Fuse, FusePolicy, Position
from farm.core.job import Ending, Outcome, Priority, Stage
from farm.core.profile import Profile, Reservation, Sample, reserve
from farm.core.retry import RetryPolicy
from farm.ledger.ledger import Ledger
from farm.settings import SourceSettings
from farm.telemetry import Name, log

SAMPLES = 200
TELLING = frozenset(Outcome) - {Outcome.LOST, Outcome.INTERRUPTED, Outcome.CANCELLED, Outcome.CRASHED}
"""Outcomes whose usage says what such a job needs."""


class Source:
    """Kept in memory by the dispatcher, written to the ledger now and then by `save`."""

    def __init__(self, settings: SourceSettings) -> None:
        self.settings = settings
        self.paused = False
        self.fuse = breaker.CLOSED
        self.virtual_s = 0.0
        self.served_s = 0.0
        self.samples: dict[Stage, deque[Sample]] = {stage: deque(maxlen=SAMPLES) for stage in Stage}
        self._reservations: dict[Stage, Reservation] = {}
        """Of stages that were not measured since."""
        self._unsaved: set[Stage] = set()
        """Stages measured since the ledger was told last."""
        self._fuse_unsaved = False

    def load(self, ledger: Ledger) -> None:
        """What the ledger remembers of it."""
        name = self.settings.name
        row = ledger.connection.execute(
            "SELECT paused_at IS NOT NULL, virtual_s, served_s FROM source WHERE name = ?", (name,)
        ).fetchone()
        if row:
            self.paused, self.virtual_s, self.served_s = bool(row[0]), row[1], row[2]
        fuse = ledger.connection.execute(
            "SELECT failures, opened, until, message FROM fuse WHERE source = ?", (name,)
        ).fetchone()
        self.fuse = Fuse(*fuse) if fuse else breaker.CLOSED
        for stage, samples in ledger.connection.execute(
            "SELECT stage, samples FROM usage WHERE source = ?", (name,)
        ):
            self.samples[Stage(stage)].extend(Sample(*sample) for sample in json.loads(samples))
        self._reservations.clear()

    def save(self, ledger: Ledger) -> None:
        """In the caller's transaction; `saved` says that it is on disk."""
        name = self.settings.name
        ledger.connection.execute(
            "INSERT INTO source (name, virtual_s, served_s) VALUES (?1, ?2, ?3)"
            " ON CONFLICT (name) DO UPDATE SET virtual_s = ?2, served_s = ?3",
            (name, self.virtual_s, self.served_s),
        )
        for stage in self._unsaved:
            reservation = self.reservations()[stage]
            samples = [astuple(sample) for sample in self.samples[stage]]
            ledger.connection.execute(
                "INSERT OR REPLACE INTO usage (source, stage, samples, memory_bytes, cpu, wall_s, updated_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    name,
                    stage,
                    json.dumps(samples),
                    reservation.memory_bytes,
                    reservation.cpu,
                    reservation.wall_s,
                    ledger.clock(),
                ),
            )

    def saved(self) -> None:
        """What `save` wrote is on disk."""
        self._unsaved.clear()

    def hear(self, ending: Ending, now: float) -> None:
        """What this ending says about the other side; `keep_fuse` writes it down."""
        if self.fuse is breaker.CLOSED and ending.outcome is Outcome.SUCCEEDED:
            return  # nothing new
        fuse = breaker.after(
            self.fuse,
            ending.outcome,
            now=now,
            policy=self._fuse_policy(),
            unavailable=ending.unavailable,
            retry_after_s=ending.retry_after_s,
            message=ending.message,
        )
        if fuse is self.fuse or fuse == self.fuse:
            return
        was, self.fuse, self._fuse_unsaved = self.fuse, fuse, True
        if fuse == breaker.CLOSED and was.until is not None:
            log(Name.BREAKER_CLOSED, source=self.settings.name)
        if fuse.until is not None and fuse.until != was.until:
            rest_s = fuse.until - now
            log(
                Name.BREAKER_OPENED,
                source=self.settings.name,
                rest_s=rest_s,
                failures=fuse.failures,
                why=fuse.message,
            )

    def set_back(self, before: float, now: float) -> None:
        """The wall clock was set back: its breaker rests for what was left."""
        self.fuse = breaker.set_back(self.fuse, before, now)
        self._fuse_unsaved = True

    def close_fuse(self) -> None:
        """An operator wants it closed."""
        self.fuse = breaker.CLOSED
        self._fuse_unsaved = True

    def keep_fuse(self, ledger: Ledger) -> None:
        """Write its breaker down where it changed; in the caller's transaction, until `fuse_is_kept`."""
        if not self._fuse_unsaved:
            return
        name, fuse = self.settings.name, self.fuse
        if fuse == breaker.CLOSED:
            ledger.connection.execute("DELETE FROM fuse WHERE source = ?", (name,))
            return
        ledger.connection.execute(
            "INSERT OR REPLACE INTO fuse (source, failures, opened, until, message) VALUES (?, ?, ?, ?, ?)",
            (name, fuse.failures, fuse.opened, fuse.until, fuse.message),
        )

    def fuse_is_kept(self) -> None:
        """What `keep_fuse` wrote is on disk."""
        self._fuse_unsaved = False

    def resting_until(self, now: float) -> float | None:
        """When its breaker tries again; None while it is not open."""
        return self.fuse.until if self.fuse.position(now) is Position.OPEN else None

    def on_trial(self, now: float) -> bool:
        """Whether one job at a time is to show that the other side is back."""
        return self.fuse.position(now) is Position.HALF_OPEN

    def _fuse_policy(self) -> FusePolicy:
        """It opens at the latest when a job would be given up: an outage is waited for, not counted."""
        policy = self.settings.fuse
        most = self.settings.retry.of(Outcome.TRANSIENT).max_attempts
        return replace(policy, failures=min(policy.failures, most))

    def settle_in(self, settings: SourceSettings) -> None:
        """New settings; what was measured stays."""
        self.settings = settings
        self._reservations.clear()

    def forget_usage(self) -> None:
        """Back to the declared profile."""
        for samples in self.samples.values():
            samples.clear()
        self._unsaved.clear()
        self._reservations.clear()

    def measured(self, stage: Stage, endings: Sequence[Ending]) -> None:
        """Learn from what these attempts used."""
        samples = [
            Sample(e.usage.wall_s, e.usage.cpu_s, e.usage.memory_peak_bytes)
            for e in endings[-SAMPLES:]
            if e.outcome in TELLING and e.usage.wall_s > 0
        ]
        if samples:
            self.samples[stage].extend(samples)
            self._unsaved.add(stage)
            self._reservations.pop(stage, None)

    def reservations(self) -> Mapping[Stage, Reservation]:
        """What its next jobs are given: worked out when it is asked for, not for every launch that ends."""
        for stage in Stage:
            if stage not in self._reservations:
                self._reservations[stage] = reserve(self.settings.profile, self.samples[stage])
        return self._reservations


def departed(name: str) -> SourceSettings:
    """Settings for a source that left farm.toml while it had jobs."""
    return SourceSettings(
        name=name,
        connector="",
        every_s=None,
        cron=None,
        timezone="UTC",
        watch=False,
        rescan_s=None,
        priority=Priority.NORMAL,
        weight=1.0,
        options_json="{}",
        profile=Profile(),
        retry=RetryPolicy(),
    )
