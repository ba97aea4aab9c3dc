"""Fires what is due: `every` and `cron` of each source, and once what was missed while the farm was down.

Rules:
- `every` counts from the last fire and stays on that grid; a source that never fired is due at once.
- Of all fires missed while the farm was down, or the machine asleep, one is made up for (`catch_up`).
- Time is the wall clock's, looked at no less than every LOOK_S: steps of it, suspends and daylight saving
  neither lose a fire nor let a source wait longer than its interval.
- A fire is named by its source and its due time, so that the same one never runs twice.
The decisions are pure functions of time; APScheduler only wakes us up.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from farm.errors import FarmError
from farm.triggers.cron import Cron, parse

if TYPE_CHECKING:
    from farm.settings import SourceSettings

LOOK_S = 1.0
LATE_S = 60.0
"""A fire this late was missed: the farm was down or the machine asleep."""
CLOSE_S = 5.0
AGAIN_S = 10.0
"""After a fire that could not be handed over."""

Fire = Callable[[str, str, str, float], None]
"""source, trigger ("every", "cron", "catch_up"), trigger_key, due_at (Unix seconds)."""

log = logging.getLogger("farm.clock")


@dataclass(frozen=True, slots=True)
class Schedule:
    """A source's schedule as the ledger keeps it. `spec`: "every 900.0" or "cron 0 7 * * 1-5 UTC"."""

    source: str
    spec: str
    last_fire_at: float | None = None
    next_fire_at: float | None = None


@dataclass(frozen=True, slots=True)
class Every:
    """Fires at each multiple of `interval_s` after the last fire."""

    interval_s: float

    def next_fire(self, last: float | None, now: float) -> float:
        return now if last is None else last + self.interval_s

    def latest(self, last: float, now: float) -> float:
        """The last time on the grid that is not after now."""
        return last + max(0, int((now - last) // self.interval_s)) * self.interval_s


@dataclass(frozen=True, slots=True)
class ByCron:
    cron: Cron

    def next_fire(self, last: float | None, now: float) -> float | None:
        return self.cron.after(now if last is None else last)

    def latest(self, last: float, now: float) -> float:
        """The last fire in (last, now]; looks back in growing steps, a minutely cron has many."""
        for back_s in (3600.0, 86400.0, 32 * 86400.0, 366 * 86400.0, now):
            found, at = None, self.cron.after(max(last, now - back_s))
            while at is not None and at <= now:
                found, at = at, self.cron.after(at)
            if found is not None:
                return found
        return last


Plan = Every | ByCron


def spec_of(source: SourceSettings) -> str | None:
    """What the ledger keeps of a source's schedule; None where there is none."""
    if source.every_s is not None:
        return f"every {source.every_s}"
    return f"cron {source.cron} {source.timezone}" if source.cron else None


def trigger_key(source: str, due_at: float) -> str:
    """
    >>> trigger_key("notes", 1767225600.25)
    'notes@2026-01-01T00:00:00.250Z'
    """
    moment = datetime.fromtimestamp(due_at, UTC).isoformat(timespec="milliseconds")
    return f"{source}@{moment.removesuffix('+00:00')}Z"


@dataclass(slots=True)
class _Entry:
    schedule: Schedule
    plan: Plan
    trigger: str
    busy: bool = False
    """Its fire is being handed over."""


class Clock:
    def __init__(
        self,
        sources: Iterable[SourceSettings],
        fire: Fire,
        known: Mapping[str, Schedule],
        *,
        now: Callable[[], float] = time.time,
        look_s: float = LOOK_S,
    ) -> None:
        """`known` is what the ledger kept: last_fire_at of each source, under the spec it was made by."""
        self._fire, self._now = fire, now
        self._lock = threading.RLock()
        self._at_rest = threading.Condition(self._lock)
        self._entries: dict[str, _Entry] = {}
        self._scheduler = _Scheduler(look_s, self._look)
        self._running = False
        self.reload(sources, known)

    def start(self) -> None:
        """Fire from now on, beginning with what was missed."""
        with self._lock:
            self._running = True
            self._scheduler.start()
            for name in self._entries:
                self._wake_at(name)

    def close(self) -> None:
        """No fire begins after this returns; one that is being handed over is waited for, but not for ever."""
        with self._lock:
            running, self._running = self._running, False
        if not running:
            return
        self._scheduler.shutdown(wait=False)  # waiting, it would hold its lock while a job of ours wants it
        with self._lock:
            self._at_rest.wait_for(lambda: not any(e.busy for e in self._entries.values()), CLOSE_S)

    def reload(self, sources: Iterable[SourceSettings], known: Mapping[str, Schedule] | None = None) -> None:
        """Take on these sources; a schedule that did not change goes on as it was."""
        known = known or {}
        with self._lock:
            before, self._entries = self._entries, {}
            for source in sources:
                spec = spec_of(source)
                if spec is None:
                    continue
                old = before.get(source.name)
                if old is not None and old.schedule.spec == spec:
                    self._entries[source.name] = old
                else:
                    kept = old.schedule if old is not None else known.get(source.name)
                    self._entries[source.name] = self._entry(source, spec, kept)
            for name in before.keys() - self._entries.keys():
                self._scheduler.forget(name)
            if self._running:
                for name in self._entries:
                    self._wake_at(name)

    def schedules(self) -> list[Schedule]:
        """What the ledger should keep."""
        with self._lock:
            return [entry.schedule for entry in self._entries.values()]

    def next_fire_at(self, source: str) -> float | None:
        """Unix seconds; None where the source has no schedule."""
        with self._lock:
            entry = self._entries.get(source)
            return entry.schedule.next_fire_at if entry else None

    def next_after(self, source: str, due_at: float) -> float | None:
        """When the source fires next, once it has fired at `due_at`."""
        with self._lock:
            entry = self._entries.get(source)
            return entry.plan.next_fire(due_at, self._now()) if entry else None

    def _entry(self, source: SourceSettings, spec: str, old: Schedule | None) -> _Entry:
        now = self._now()
        last = old.last_fire_at if old else None
        if source.every_s is not None:
            plan: Plan = Every(source.every_s)
        else:
            plan = ByCron(parse(source.cron or "", source.timezone))
            if old is None or old.spec != spec or last is None:
                last = now  # a new cron waits for its first time, an old one is made up for
        last = min(last, now) if last is not None else None
        schedule = Schedule(source.name, spec, last, plan.next_fire(last, now))
        return _Entry(schedule, plan, "cron" if isinstance(plan, ByCron) else "every")

    def _look(self) -> None:
        """The wall clock may have been stepped while we slept by the other one."""
        now = self._now()
        with self._lock:
            for name, entry in self._entries.items():
                last, next_at = entry.schedule.last_fire_at, entry.schedule.next_fire_at
                if last is not None and last > now + 1:
                    # Set back: count from now, or the source would wait for as much longer.
                    log.warning("clock.set_back source=%s by_s=%.0f", name, last - now)
                    next_at = entry.plan.next_fire(now, now)
                    entry.schedule = replace(entry.schedule, last_fire_at=now, next_fire_at=next_at)
                    self._wake_at(name)
                elif next_at is not None and next_at <= now and not entry.busy:
                    self._wake_at(name)

    def _wake_at(self, name: str) -> None:
        at = self._entries[name].schedule.next_fire_at
        if at is None:
            self._scheduler.forget(name)
        else:
            self._scheduler.wake(name, max(0.0, at - self._now()), self._due)

    def _due(self, name: str) -> None:
        with self._lock:
            entry = self._entries.get(name)
            if entry is None or entry.busy or not self._running or entry.schedule.next_fire_at is None:
                return
            now, planned = self._now(), entry.schedule.next_fire_at
            if now < planned - 0.001:  # woken too early: the clock was set back meanwhile
                self._wake_at(name)
                return
            late = now - planned > LATE_S
            due_at = entry.plan.latest(planned, now) if late else planned
            entry.busy = True
        try:  # without the lock: whoever takes the fire may ask us something
            self._fire(name, "catch_up" if late else entry.trigger, trigger_key(name, due_at), due_at)
            fired = True
        except FarmError as error:
            log.warning("clock.fire_refused source=%s why=%s", name, error)
            fired = False
        except Exception:
            log.exception("clock.fire_failed source=%s", name)
            fired = False
        with self._lock:
            entry.busy = False
            self._at_rest.notify_all()
            if self._entries.get(name) is not entry or not self._running:
                return
            if fired:
                next_at = entry.plan.next_fire(due_at, now)
                entry.schedule = replace(entry.schedule, last_fire_at=due_at, next_fire_at=next_at)
                self._wake_at(name)
            else:
                self._scheduler.wake(name, AGAIN_S, self._due)


class _Scheduler(BackgroundScheduler):  # type: ignore[misc]  # APScheduler publishes no types
    """APScheduler that wakes us up. No wake-up is dropped for being late.

    Lock order: ours, then APScheduler's. Hence a thread for the jobs: run by the scheduler's own thread they
    would hold its lock while they take ours.
    """

    def __init__(self, look_s: float, look: Callable[[], None]) -> None:
        super().__init__(
            timezone=UTC,
            daemon=True,
            executors={"default": ThreadPoolExecutor(1)},
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1000},
        )
        self._look_s, self._look = look_s, look

    def wake(self, name: str, in_s: float, call: Callable[[str], None]) -> None:
        at = datetime.now(UTC) + timedelta(seconds=in_s)
        self.add_job(call, "date", run_date=at, args=[name], id=name, replace_existing=True)

    def forget(self, name: str) -> None:
        if self.get_job(name) is not None:
            self.remove_job(name)

    def _process_jobs(self) -> Any:
        # It sleeps by the monotonic clock, which knows of no step and no suspend: never sleep for long.
        try:
            self._look()
            wait_s = super()._process_jobs()
        except Exception:
            if self.running:  # a job that is not found while shutting down is nothing
                log.exception("clock.failed")  # whatever it was, this thread lives on
            return self._look_s
        return self._look_s if wait_s is None else min(wait_s, self._look_s)
