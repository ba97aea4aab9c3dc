"""What fires: the clock, the watches and the webhooks of a running farm, and the runs that follow.

Each has a thread of its own, which only asks; intake answers in the dispatcher's, and what it raises has the
trigger try again later.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from farm.deliveries import Deliveries
from farm.dispatch.dispatcher import Dispatcher
from farm.errors import DiskFull
from farm.intake import Request, admit
from farm.ledger.ledger import Ledger
from farm.secrets import resolve
from farm.settings import Settings, SourceSettings
from farm.sources import Source
from farm.telemetry import Name, log
from farm.triggers.clock import Clock, Schedule
from farm.triggers.listen import Listen
from farm.triggers.watches import Watches
from farm.triggers.webhooks import Listener
from farm.workers import reaper


def webhook_secrets(home: Path, settings: Settings) -> tuple[str, ...]:
    """What webhooks are signed with; raises FarmError where one is missing."""
    webhooks = settings.farm.webhooks
    return tuple(resolve(name, home=home) for name in webhooks.secrets) if webhooks else ()


class Triggers:
    """`start` has everything fire as farm.toml says; a farm that drains has `run_all` instead."""

    def __init__(
        self, home: Path, instance: str, ledger: Ledger, sources: dict[str, Source], dispatcher: Dispatcher
    ) -> None:
        self._home = home
        self._instance = instance
        self._ledger = ledger
        self._sources = sources
        self._dispatcher = dispatcher
        self._deliveries = Deliveries(ledger, lambda: sources, dispatcher.call)
        self._webhooks: Listener | None = None
        self._stack = ExitStack()

    def run_all(self) -> None:
        """One run of each source, as if all were due."""
        for name, source in self._sources.items():
            if not source.paused:
                self._admit(name, "drain", f"{name}@drain {self._instance}")

    def start(self, settings: Settings) -> None:
        rows = self._ledger.connection.execute(
            "SELECT source, spec, last_fire_at, next_fire_at FROM schedule"
        )
        known = {row[0]: Schedule(*row) for row in rows}
        self._clock = Clock(settings.sources.values(), self._fire, known)
        self._stack.callback(self._clock.close)
        with self._ledger.transaction():
            self._note_schedules()
        self._watches = Watches(self._watch_fired, self._degraded, self._listen)
        self._stack.callback(self._watches.close)
        self._watches.reload(settings.sources.values())
        self._stack.callback(self._stop_hearing)
        self._hear_webhooks(settings)
        self._clock.start()

    def reload(self, settings: Settings) -> None:
        """Fire as these settings say from now on; raises FarmError where webhooks cannot be heard."""
        self._clock.reload(settings.sources.values())
        self._dispatcher.call(self._note_schedules)
        self._watches.reload(settings.sources.values())
        self._hear_webhooks(settings)

    def close(self) -> None:
        self._stack.close()

    def webhook_facts(self) -> dict[str, Any] | None:
        """What was heard so far; None where nobody listens."""
        return self._webhooks.facts() if self._webhooks else None

    # -- schedules

    def _note_schedules(self) -> None:
        """Have the ledger say when each source fires next."""
        self._ledger.connection.execute("DELETE FROM schedule")
        self._ledger.connection.executemany(
            "INSERT INTO schedule (source, spec, last_fire_at, next_fire_at) VALUES (?, ?, ?, ?)",
            [(s.source, s.spec, s.last_fire_at, s.next_fire_at) for s in self._clock.schedules()],
        )

    def _fire(self, source: str, trigger: str, key: str, due_at: float) -> None:
        """The clock's thread: a schedule is due. What it raises has the clock try again later."""
        self._dispatcher.pressure.refuse()
        next_at = self._clock.next_after(source, due_at)

        def act() -> None:
            self._admit(source, trigger, key)
            self._ledger.connection.execute(
                "UPDATE schedule SET last_fire_at = ?, next_fire_at = ? WHERE source = ?",
                (due_at, next_at, source),
            )

        self._dispatcher.call(act)

    def _admit(self, name: str, trigger: str, key: str) -> None:
        source = self._sources.get(name)
        if source is None or source.paused:
            return
        with self._ledger.joined():
            answer = admit(self._ledger, Request(source.settings, trigger=trigger, trigger_key=key))
        log(Name.TRIGGER_FIRED, source=name, trigger=trigger, run=answer.run_id, coalesced=answer.coalesced)

    # -- watches

    def _watch_fired(self, name: str, paths: list[str] | None) -> None:
        """A watch's thread: these keys changed; None: look at everything. Tried again when it raises."""
        self._dispatcher.pressure.refuse()

        def act() -> None:
            source = self._sources.get(name)
            if source is None or source.paused:
                return
            trigger = "rescan" if paths is None else "watch"
            some = None if paths is None else tuple(paths)
            answer = admit(self._ledger, Request(source.settings, trigger=trigger, paths=some))
            log(
                Name.TRIGGER_FIRED,
                source=name,
                trigger=trigger,
                run=answer.run_id,
                coalesced=answer.coalesced,
            )

        self._dispatcher.call(act)

    def _listen(self, settings: SourceSettings) -> Listen:
        marker = f"{reaper.mark_of(str(self._home))}.{self._instance}:listen"
        return Listen(settings, self._home, {reaper.MARKER: marker}, self._watch_fired, self._degraded)

    def _degraded(self, name: str, sentence: str) -> None:
        """A watch's thread: something about the source does not work (or, empty, works again)."""

        def act() -> None:
            self._ledger.connection.execute(
                "INSERT INTO source (name, degraded) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET degraded = ?2",
                (name, sentence),
            )

        with suppress(DiskFull):  # the log has it, and the watch must live on
            self._dispatcher.call(act)
        log(Name.SOURCE_DEGRADED if sentence else Name.SOURCE_RECOVERED, source=name, why=sentence or None)

    # -- webhooks

    def _hear_webhooks(self, settings: Settings) -> None:
        """Listen as farm.toml says; raises FarmError where that cannot be, and then all is as before."""
        webhooks = settings.farm.webhooks
        if webhooks is None:
            self._stop_hearing()
            return
        found = webhook_secrets(self._home, settings)
        if self._webhooks is not None and self._webhooks.hears(webhooks, found):
            return
        self._stop_hearing()
        self._webhooks = Listener(webhooks, found, self._deliveries.receive)
        self._webhooks.start()

    def _stop_hearing(self) -> None:
        if self._webhooks is not None:
            self._webhooks.close()
        self._webhooks = None
