"""The supervisor: puts the farm together, hears signals, takes it apart again in the right order.

`run` is `farm start`; `offline` lets the command line change a ledger whose farm is down, under the same lock.
"""

from __future__ import annotations

import errno
import json
import os
import random
import secrets
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from farm import control, fleeting, machine, shortage, sqlite, telemetry
from farm import home as homes
from farm.core.admission import Budget
from farm.core.job import Event
from farm.deliveries import Deliveries
from farm.dispatch.dispatcher import Dispatcher
from farm.dispatch.pressure import PRESSED
from farm.errors import DiskFull, FarmError, NotPossible
from farm.intake import Request, admit
from farm.lander import Lander
from farm.ledger.ledger import Ledger
from farm.operations import Offline, Operations
from farm.recovery import recover
from farm.reserve import Reserve
from farm.secrets import resolve
from farm.settings import Settings, SourceSettings, load
from farm.settle import Settler
from farm.signals import Ear
from farm.sources import Source, departed
from farm.store.notes import landed_before
from farm.store.store import Store
from farm.telemetry import Name, log
from farm.triggers.clock import Clock, Schedule
from farm.triggers.listen import Listen
from farm.triggers.watches import Watches
from farm.triggers.webhooks import Listener
from farm.workers import reaper
from farm.workers.pool import Pool

DRAINED_WITH_QUARANTINED = 3
CUT_SHORT = 130
"""A drain that was told to stop while there was work left; what a shell has for Ctrl-C."""
BRINGS_WORK = frozenset({"run", "submit", "retry_jobs"})
"""Operations that are refused while the disk is full."""


def run(
    home: Path, config: Path, *, drain: bool = False, stopping: Callable[[float], None] | None = None
) -> int:
    """Run the farm until it is told to stop, or is drained; the exit code. Raises FarmError before it starts.

    `stopping` is called, by any thread, when it is told to stop first: with the seconds that running jobs get.
    """
    settings = load(config)
    homes.prepare(home)
    with ExitStack() as stack:
        stack.enter_context(homes.Lock(home))
        stack.callback(telemetry.stop, telemetry.start(home))
        farm = Farm(home, settings, drain=drain, stopping=stopping)
        stack.callback(farm.close)
        stack.callback(shortage.watch())
        try:
            farm.start()
            farm.dispatcher.run()
        except MemoryError:
            shortage.end()
        except sqlite3.DatabaseError as error:
            lander = getattr(farm, "lander", None)
            name = homes.STORE if lander is not None and error is lander.failure else homes.LEDGER
            raise sqlite.in_words(home / name, error) from error
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise DiskFull(error.filename or home) from error
            raise
        if drain and farm.dispatcher.open_jobs():
            return CUT_SHORT
        if drain and farm.quarantined():
            return DRAINED_WITH_QUARANTINED
    return 0


class Farm:
    """All parts of a running farm. `start` brings them up from the inside out, `close` takes them down."""

    def __init__(
        self,
        home: Path,
        settings: Settings,
        *,
        drain: bool,
        stopping: Callable[[float], None] | None = None,
    ) -> None:
        self.home = home
        self.settings = settings
        self.drain = drain
        self.instance = secrets.token_hex(8)
        self.started_at = time.time()
        self._stack = ExitStack()
        self._asked_to_stop = False
        self._stopping = stopping
        self._webhooks: Listener | None = None

    def start(self) -> None:
        home, settings, stack = self.home, self.settings, self._stack
        self._webhook_secrets(settings)  # before anything begins: what is missing is told at once
        reaper.sweep(str(home))
        fleeting.sweep()
        homes.keep_in_force(home, settings.text)
        self.reserve = Reserve(home)
        if self.reserve.short():
            self.reserve.release()  # what a dead farm left is settled with it
        else:
            self.reserve.fill()
        homes.clear_caches(home, settings.sources)
        self.ledger = Ledger.open(home / homes.LEDGER)
        stack.callback(self.ledger.close)
        self.sources = {name: Source(source) for name, source in settings.sources.items()}
        for source in self.sources.values():
            source.load(self.ledger)
        self.settler = Settler(
            self.ledger, self.settings_of, random.random, lambda source: self.dispatcher.resting_until(source)
        )
        self.lander = Lander(home / homes.STORE, wake=self._ring)
        self.lander.start()
        stack.callback(self.lander.close)
        reader = sqlite.open_reader(home / homes.STORE)
        stack.callback(reader.close)
        salvaged = recover(self.ledger, self.settler, home, partial(_landed, reader, home))
        self._number_on(reader)
        self.pool = Pool(home, cells=settings.farm.workers, instance=self.instance, wake=self._ring)
        self.pool.start()
        stack.callback(self.pool.close)
        self.dispatcher = Dispatcher(
            self.ledger,
            self.pool,
            self.lander,
            self.settler,
            self.sources,
            home=home,
            budget=self.budget,
            cursor_of=lambda source: _cursor(reader, home, source),
            drain=self.drain,
            reserve=self.reserve,
        )
        for item in salvaged:
            self.dispatcher.adopt(item.launch, item.finished)
        self._deliveries = Deliveries(self.ledger, lambda: self.sources, self.dispatcher.call)
        self.operations = Operations(self.ledger, settings.sources, self)
        server = control.Server(home, self.handle, _control_failed)
        server.start()
        stack.callback(server.close)
        self._hear_signals()
        self._start_triggers()
        log(Name.FARM_STARTED, pid=os.getpid(), sources=len(self.sources), cells=settings.farm.workers)

    def _ring(self) -> None:
        """Something waits for the dispatcher; there is none yet in a start that fails half-way."""
        if hasattr(self, "dispatcher"):
            self.dispatcher.wake()

    def _number_on(self, reader: sqlite3.Connection) -> None:
        """No attempt gets the number of one that has landed, which would make its content old news.

        A ledger falls behind its store when the end of it was lost: a log cut short, a copy put back by hand.
        """
        with _of_the_store(self.home):
            landed = int(reader.execute("SELECT coalesce(max(attempt_id), 0) FROM landing").fetchone()[0])
        if landed > self.ledger.attempts.newest():
            log(Name.LEDGER_BEHIND, newest=self.ledger.attempts.newest(), landed=landed)
            with self.ledger.transaction():
                self.ledger.attempts.number_on(landed)

    def close(self) -> None:
        if hasattr(self, "dispatcher"):
            self.dispatcher.close()
        self._stack.close()
        log(Name.FARM_STOPPED, pid=os.getpid())

    def settings_of(self, source: str) -> SourceSettings:
        """Also of a source that left farm.toml while it had jobs: then with the defaults."""
        known = self.sources.get(source)
        return known.settings if known else departed(source)

    def budget(self, held_bytes: int) -> Budget:
        limits = self.settings.farm
        return Budget(
            cpu=machine.cores(limits.cpu),
            memory_bytes=machine.memory_budget(held_bytes, limits.memory_bytes),
            cells=limits.workers,
        )

    def quarantined(self) -> bool:
        row = self.ledger.connection.execute(
            "SELECT 1 FROM job WHERE state = 'quarantined' LIMIT 1"
        ).fetchone()
        return row is not None

    # -- signals

    def _hear_signals(self) -> None:
        def heard(number: signal.Signals) -> None:
            if number is signal.SIGHUP:
                self._reload_or_say()
            else:
                self.stop(now=self._asked_to_stop)

        ear = Ear((signal.SIGTERM, signal.SIGINT, signal.SIGHUP), heard)
        self._stack.callback(ear.close)

    def _reload_or_say(self) -> None:
        try:
            self._reload()
        except FarmError as error:
            log(Name.SETTINGS_REFUSED, why=str(error))

    def stop(self, *, now: bool = False) -> None:
        """Running jobs get the grace time. A second time, or `now`: at once."""
        log(Name.FARM_STOPPING, at_once=now)
        first, self._asked_to_stop = not self._asked_to_stop, True
        grace_s = 0.0 if now else self.settings.farm.grace_s
        self.dispatcher.stop(grace_s)
        if first and self._stopping is not None:
            self._stopping(grace_s)

    # -- triggers

    def _start_triggers(self) -> None:
        if self.drain:
            for name, source in self.sources.items():
                if not source.paused:
                    self._admit(name, "drain", f"{name}@drain {self.instance}")
            return
        rows = self.ledger.connection.execute("SELECT source, spec, last_fire_at, next_fire_at FROM schedule")
        known = {row[0]: Schedule(*row) for row in rows}
        self.clock = Clock(self.settings.sources.values(), self._fire, known)
        self._stack.callback(self.clock.close)
        with self.ledger.transaction():
            self._note_schedules()
        self.watches = Watches(self._watch_fired, self._degraded, self._listen)
        self._stack.callback(self.watches.close)
        self.watches.reload(self.settings.sources.values())
        self._stack.callback(self._stop_hearing)
        self._hear_webhooks()
        self.clock.start()

    def _hear_webhooks(self) -> None:
        """Listen as farm.toml says; raises FarmError where that cannot be, and then all is as before."""
        settings = self.settings.farm.webhooks
        if settings is None:
            self._stop_hearing()
            return
        found = self._webhook_secrets(self.settings)
        if self._webhooks is not None and self._webhooks.hears(settings, found):
            return
        self._stop_hearing()
        self._webhooks = Listener(settings, found, self._deliveries.receive)
        self._webhooks.start()

    def _webhook_secrets(self, settings: Settings) -> tuple[str, ...]:
        """Raises FarmError where one is missing. A drain hears no webhooks."""
        webhooks = None if self.drain else settings.farm.webhooks
        return tuple(resolve(name, home=self.home) for name in webhooks.secrets) if webhooks else ()

    def _stop_hearing(self) -> None:
        if self._webhooks is not None:
            self._webhooks.close()
        self._webhooks = None

    def _note_schedules(self) -> None:
        """Have the ledger say when each source fires next."""
        self.ledger.connection.execute("DELETE FROM schedule")
        self.ledger.connection.executemany(
            "INSERT INTO schedule (source, spec, last_fire_at, next_fire_at) VALUES (?, ?, ?, ?)",
            [(s.source, s.spec, s.last_fire_at, s.next_fire_at) for s in self.clock.schedules()],
        )

    def _fire(self, source: str, trigger: str, key: str, due_at: float) -> None:
        """The clock's thread: a schedule is due. What it raises has the clock try again later."""
        self._refuse_if_pressed()
        next_at = self.clock.next_after(source, due_at)

        def act() -> None:
            self._admit(source, trigger, key)
            self.ledger.connection.execute(
                "UPDATE schedule SET last_fire_at = ?, next_fire_at = ? WHERE source = ?",
                (due_at, next_at, source),
            )

        self.dispatcher.call(act)

    def _admit(self, name: str, trigger: str, key: str) -> None:
        source = self.sources.get(name)
        if source is None or source.paused:
            return
        with self.ledger.joined():
            answer = admit(self.ledger, Request(source.settings, trigger=trigger, trigger_key=key))
        log(Name.TRIGGER_FIRED, source=name, trigger=trigger, run=answer.run_id, coalesced=answer.coalesced)

    def _watch_fired(self, name: str, paths: list[str] | None) -> None:
        """A watch's thread: these keys changed; None: look at everything. Tried again when it raises."""
        self._refuse_if_pressed()

        def act() -> None:
            source = self.sources.get(name)
            if source is None or source.paused:
                return
            trigger = "rescan" if paths is None else "watch"
            some = None if paths is None else tuple(paths)
            answer = admit(self.ledger, Request(source.settings, trigger=trigger, paths=some))
            log(
                Name.TRIGGER_FIRED,
                source=name,
                trigger=trigger,
                run=answer.run_id,
                coalesced=answer.coalesced,
            )

        self.dispatcher.call(act)

    def _listen(self, settings: SourceSettings) -> Listen:
        marker = f"{reaper.mark_of(str(self.home))}.{self.instance}:listen"
        return Listen(settings, self.home, {reaper.MARKER: marker}, self._watch_fired, self._degraded)

    def _degraded(self, name: str, sentence: str) -> None:
        """A watch's thread: something about the source does not work (or, empty, works again)."""

        def act() -> None:
            self.ledger.connection.execute(
                "INSERT INTO source (name, degraded) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET degraded = ?2",
                (name, sentence),
            )

        with suppress(DiskFull):  # the log has it, and the watch must live on
            self.dispatcher.call(act)
        log(Name.SOURCE_DEGRADED if sentence else Name.SOURCE_RECOVERED, source=name, why=sentence or None)

    # -- control

    def handle(self, op: str, args: dict[str, Any], actor: str) -> object:
        """A control thread: one request of the command line."""
        match op:
            case "ping":
                return {"pid": os.getpid(), "started_at": self.started_at}
            case "status_live":
                return self.dispatcher.call(self._status)
            case "stop":
                self.stop(now=bool(args.get("now")))
                return {"stopping": True}
            case "reload":
                return self._reload()
        if op in BRINGS_WORK:
            self._refuse_if_pressed()
        return self.dispatcher.call(lambda: self._perform(op, args, actor))

    def _refuse_if_pressed(self) -> None:
        if self.dispatcher.pressed:
            raise NotPossible(f"{PRESSED}: make room in {self.home}")

    def _perform(self, op: str, args: dict[str, Any], actor: str) -> Any:
        result = self.operations.perform(op, args, actor)
        if op in ("pause_source", "resume_source"):
            self.sources[args["name"]].paused = bool(result["paused"])
        if op in ("resume_source", "run"):
            self.sources[args.get("name") or args["source"]].close_fuse()
        return result

    def _status(self) -> dict[str, Any]:
        webhooks = self._webhooks.facts() if self._webhooks else None
        return {
            "pid": os.getpid(),
            "started_at": self.started_at,
            "webhooks": webhooks,
            **self.dispatcher.status(),
        }

    def _reload(self) -> dict[str, Any]:
        """Read farm.toml again; nothing changes when it has errors."""
        settings = load(self.settings.config)
        self._webhook_secrets(settings)

        def act() -> dict[str, Any]:
            gone = self.sources.keys() - settings.sources.keys()
            for name, new in settings.sources.items():
                if name in self.sources:
                    self.sources[name].settle_in(new)
                else:
                    self.sources[name] = Source(new)
                    self.sources[name].load(self.ledger)
            for name in gone:
                del self.sources[name]
            self.settings = settings
            self.pool.resize(settings.farm.workers)
            self.operations.sources = settings.sources
            return {"sources": sorted(settings.sources), "removed": sorted(gone)}

        changed = self.dispatcher.call(act)
        homes.keep_in_force(self.home, settings.text)
        if not self.drain:
            self.clock.reload(settings.sources.values())
            self.dispatcher.call(self._note_schedules)
            self.watches.reload(settings.sources.values())
            self._hear_webhooks()
        log(Name.SETTINGS_LOADED, sources=len(settings.sources))
        return changed

    # -- what operations ask of a running farm

    def interrupt(self, job_id: int, event: Event, actor: str) -> bool:
        return self.dispatcher.interrupt(job_id, event, actor)

    def hold(self, job_id: int) -> str:
        return self.dispatcher.hold(job_id)

    def purge(self, source: str) -> None:
        def act(store: Store) -> None:
            store.remove_source(source)
            shutil.rmtree(homes.cache_of(self.home, source), ignore_errors=True)

        self.lander.do(act)

    def forget_usage(self, source: str) -> None:
        self.sources[source].forget_usage()


class Desk:
    """The operations of a farm that is down."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    def handle(self, op: str, args: dict[str, Any], actor: str) -> object:
        if op == "reload":
            return {}
        with self._operations.ledger.transaction():
            return self._operations.perform(op, args, actor)


@contextmanager
def offline(home: Path, config: Path) -> Iterator[Desk]:
    """The state folder's lock and its ledger, for changes while no farm runs; raises FarmRunning when one does."""
    homes.prepare(home)
    with ExitStack() as stack:
        stack.enter_context(homes.Lock(home))
        settings = load(config)
        ledger = Ledger.open(home / homes.LEDGER)
        stack.callback(ledger.close)

        def purge(source: str) -> None:
            with Store.open(home / homes.STORE) as store:
                store.remove_source(source)
            shutil.rmtree(homes.cache_of(home, source), ignore_errors=True)

        try:
            yield Desk(Operations(ledger, settings.sources, Offline(purge)))
        except sqlite3.DatabaseError as error:
            raise sqlite.in_words(home / homes.LEDGER, error) from error


@contextmanager
def _of_the_store(home: Path) -> Iterator[None]:
    """What goes wrong here is the store's: errors of SQLite do not say whose they are."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise sqlite.in_words(home / homes.STORE, error) from error


def _landed(reader: sqlite3.Connection, home: Path, attempts: Iterable[int]) -> set[int]:
    with _of_the_store(home):
        return landed_before(reader, attempts)


def _cursor(reader: sqlite3.Connection, home: Path, source: str) -> Any:
    with _of_the_store(home):
        row = reader.execute("SELECT value FROM cursor WHERE source = ?", (source,)).fetchone()
    return None if row is None else json.loads(row[0])


def _control_failed(op: str, error: Exception) -> None:
    log(Name.CONTROL_FAILED, op=op, error=error)
