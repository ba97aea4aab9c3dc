"""The supervisor: puts the farm together, hears signals, takes it apart again in the right order.

`run` is `farm start`. What its triggers lead to stands in `farm.firing`, what is asked of it in `farm.desk`.
"""

from __future__ import annotations

import errno
import json
import os
import random
import secrets
import signal
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from farm import control, fleeting, machine, shortage, sqlite, telemetry
from farm import home as homes
from farm.core.admission import Budget
from farm.desk import Desk
from farm.dispatch.dispatcher import Dispatcher
from farm.errors import DiskFull, FarmError
from farm.firing import Triggers, webhook_secrets
from farm.lander import Lander
from farm.ledger.ledger import Ledger
from farm.recovery import recover
from farm.reserve import Reserve
from farm.settings import Settings, SourceSettings, load
from farm.settle import Settler
from farm.signals import Ear
from farm.sources import Source, departed
from farm.store.notes import landed_before
from farm.telemetry import Name, log
from farm.workers import reaper
from farm.workers.pool import Pool

DRAINED_WITH_QUARANTINED = 3
CUT_SHORT = 130
"""A drain that was told to stop while there was work left; what a shell has for Ctrl-C."""


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

    def start(self) -> None:
        home, settings, stack = self.home, self.settings, self._stack
        self._check(settings)  # before anything begins: what is missing is told at once
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
        self.triggers = Triggers(home, self.instance, self.ledger, self.sources, self.dispatcher)
        self.desk = Desk(
            home,
            self.dispatcher,
            self.lander,
            self.sources,
            begun_at=self.started_at,
            stop=self.stop,
            reload=self.reload,
            webhooks=self.triggers.webhook_facts,
        )
        server = control.Server(home, self.desk.handle, _control_failed)
        server.start()
        stack.callback(server.close)
        self._hear_signals()
        stack.callback(self.triggers.close)
        if self.drain:
            self.triggers.run_all()
        else:
            self.triggers.start(settings)
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
            self.reload()
        except FarmError as error:
            log(Name.SETTINGS_REFUSED, why=str(error))

    def stop(self, now: bool = False) -> None:
        """Running jobs get the grace time. A second time, or `now`: at once."""
        log(Name.FARM_STOPPING, at_once=now)
        first, self._asked_to_stop = not self._asked_to_stop, True
        grace_s = 0.0 if now else self.settings.farm.grace_s
        self.dispatcher.stop(grace_s)
        if first and self._stopping is not None:
            self._stopping(grace_s)

    # -- farm.toml

    def _check(self, settings: Settings) -> None:
        """Raises FarmError where something that farm.toml names is missing. A drain hears no webhooks."""
        if not self.drain:
            webhook_secrets(self.home, settings)

    def reload(self) -> dict[str, Any]:
        """Read farm.toml again; nothing changes when it has errors."""
        settings = load(self.settings.config)
        self._check(settings)

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
            self.desk.know(settings.sources)
            return {"sources": sorted(settings.sources), "removed": sorted(gone)}

        changed = self.dispatcher.call(act)
        homes.keep_in_force(self.home, settings.text)
        if not self.drain:
            self.triggers.reload(settings)
        log(Name.SETTINGS_LOADED, sources=len(settings.sources))
        return changed


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
