"""The dispatcher: the farm's main loop, and the only writer of the ledger.

Everything that happens comes in through the inbox or is fetched by polling the pool and the lander; a tick
writes all of it in one transaction, together with the leases of what starts next. So one fsync serves
whatever arrived together, and nothing is acknowledged or started before it is on disk.

What a tick takes in stays at hand until its commit: where the disk is full, the transaction is as if it had
never begun, and is tried again with the reserve's room (`farm.reserve`), or later. Any other error of the
ledger or the store ends the farm: durability is in question.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from math import inf
from pathlib import Path
from typing import Any, TypeVar

from farm import shortage, sqlite
from farm.core.admission import Budget
from farm.core.job import Event, Finished, Launch, Outcome
from farm.dispatch.flights import Flights
from farm.dispatch.inbox import Inbox, Request
from farm.dispatch.placing import Placing
from farm.dispatch.pressure import LOOK_S, PRESSED, Pressure
from farm.dispatch.settling import Settling
from farm.errors import DiskFull
from farm.lander import Lander
from farm.ledger.ledger import Ledger
from farm.reserve import Reserve
from farm.settle import Settler
from farm.sources import Source
from farm.workers.pool import Pool

T = TypeVar("T")

REPLAN_S = 1.0
"""How often a waiting lane is looked at again with nothing else happening: ageing and the budget move."""
CLOCK_S = 5.0
"""While something is due some day, the wall clock is looked at this often: it may have been set."""
SET_BACK_S = 1.0
SAVE_S = 10.0
STUCK_LOOKS = 4
"""A farm that shall end and cannot write what is left gives up after so many looks at a full disk."""


class Dispatcher:
    """`run` is the main thread's; `call`, `wake` and `stop` are for everybody."""

    def __init__(
        self,
        ledger: Ledger,
        pool: Pool,
        lander: Lander,
        settler: Settler,
        sources: dict[str, Source],
        *,
        home: Path,
        budget: Callable[[int], Budget],
        cursor_of: Callable[[str], Any],
        drain: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
        reserve: Reserve | None = None,
    ) -> None:
        self.ledger = ledger
        self.pool = pool
        self.lander = lander
        self.settler = settler
        self.sources = sources
        self.home = home
        self.flights = Flights(home)
        self.placing = Placing(
            ledger, sources, self.flights, budget=budget, cursor_of=cursor_of, monotonic=monotonic
        )
        self.settling = Settling(
            ledger, lander, settler, sources, self.flights, drain=drain, charge=self.placing.charge
        )
        self.pressure = Pressure(home, reserve, lander, monotonic)
        self.starved = False
        """Not even the last tick could be committed."""
        self._drain = drain
        self._monotonic = monotonic
        self._inbox = Inbox()
        self._thread = threading.get_ident()
        self._stuck_looks = 0
        self._seen_at = inf
        self._set_back = False
        """The wall clock was set back, and the ledger's dates are not yet."""
        self._next_due: float | None = 0.0
        self._saved = self._monotonic()
        self._saving = False
        """This tick writes what sources learned, too."""
        self._stop_at: float | None = None
        self._interrupted = False

    # -- for other threads

    def call(self, act: Callable[[], T]) -> T:
        """Do this inside the ledger's transaction; returns once it is on disk. Raises what it raised."""
        if threading.get_ident() == self._thread:
            with self.ledger.joined():
                return act()
        return self._inbox.ask(act)

    def wake(self) -> None:
        """Something may have changed."""
        self._inbox.ring()

    def stop(self, grace_s: float) -> None:
        """Start nothing more; running jobs have so long to finish, then they are interrupted."""
        at = self._monotonic() + grace_s
        if self._stop_at is None:
            self._stuck_looks = 0  # there may be room since the last look
        self._stop_at = at if self._stop_at is None else min(self._stop_at, at)
        self.placing.accepting = False
        self.wake()

    def close(self) -> None:
        """Refuse what is asked from now on: nobody will do it."""
        self._inbox.close()

    def adopt(self, launch: Launch, finished: Finished) -> None:
        """Before `run`: settle first what a farm that died had left to settle."""
        self.flights.begin(launch, 0, 0.0, self._monotonic())
        self.settling.returned(finished)

    # -- the loop

    def run(self) -> None:
        """Tick until stopped, or drained. An error of the ledger or the store ends it: both are fail-stop."""
        try:
            while not self.done():
                self.tick(self._inbox.take(self.patience_s()))
            with self.ledger.transaction():
                self._save()
        finally:
            self.close()

    def tick(self, requests: list[Request]) -> None:
        """Everything that has happened, in one transaction; then what it allows to start."""
        self.placing.look_at_machine()
        if self.pressure.look():
            self._stuck_looks = self._stuck_looks + 1 if self._is_stuck() else 0
        if self._commit(requests):
            for request in requests:
                request.tell()
            for finished in self.placing.start(self.pool):
                self.settling.returned(finished)
            self.flights.clear()
        self._press_for_end()

    def patience_s(self) -> float | None:
        """How long nothing needs doing unless somebody rings."""
        if self.starved:
            return LOOK_S
        if self.settling.waits or (self.settling.listings and not self.pressure.on):
            return 0.0
        waits: list[float] = []
        if self.pressure.on:
            waits.append(LOOK_S)
        if (no_cell_s := self.placing.patient_until - self._monotonic()) > 0:
            waits.append(no_cell_s)
        if self._next_due is not None:
            waits.append(min(CLOCK_S, max(0.0, self._next_due - self.ledger.clock())))
        if self.placing.waiting:
            waits.append(REPLAN_S)
        if self._stop_at is not None:
            waits.append(0.05)
        return min(waits, default=None)

    def _commit(self, requests: list[Request]) -> bool:
        """Write it all, on a full disk with the reserve's room; False when there is none for it even so."""
        for _ in range(self.pressure.tries):
            try:
                with self.ledger.transaction():
                    self._write(requests)
            except sqlite3.OperationalError as error:
                self._take_back()
                if not (self.pressure.bears and sqlite.is_full(error)):
                    raise
                self.pressure.press()
            else:
                self.starved = False
                self._let_go()
                return True
        self.starved = True
        for request in requests:
            request.error = DiskFull(self.ledger.path)
            request.tell()
        return False

    def _write(self, requests: list[Request]) -> None:
        self._look_at_clock()
        for request in requests:
            self._perform(request)
        self._take_finished()
        self.settling.write(unfold=not self.pressure.on)
        self._next_due = self.ledger.tickets.ripen(self.ledger.clock())
        if self._stop_at is None and not self.pressure.on:
            self.placing.lease()
        else:
            self.placing.nothing()
        for source in self.sources.values():
            source.keep_fuse(self.ledger)
        self._saving = self._monotonic() - self._saved > SAVE_S
        if self._saving:
            self._save()

    def _let_go(self) -> None:
        """After the commit: what was taken in, and what sources learned, is in the ledger now."""
        self._set_back = False
        for source in self.sources.values():
            source.fuse_is_kept()
            if self._saving:
                source.saved()
        if self._saving:
            self._saved = self._monotonic()
        self.settling.committed()

    def _take_back(self) -> None:
        """The transaction did not happen, and so nothing was leased; what was taken in stays."""
        self.placing.undone()
        self.settling.undone()

    def _perform(self, request: Request) -> None:
        """A request that fails fails alone; only the ledger's own errors are the farm's."""
        request.error = None  # of a try that was undone
        try:
            with self.ledger.savepoint():
                request.result = request.act()
        except sqlite3.DatabaseError as error:
            if not isinstance(error, sqlite3.IntegrityError):
                raise
            request.error = error
        except Exception as error:  # noqa: BLE001 - handed to the one who asked
            shortage.end_if_memory(error)
            request.error = error

    def _take_finished(self) -> None:
        for finished in self.pool.poll():
            self.settling.returned(finished)
            if finished.endings:
                self.placing.cell_worked()
            elif self._stop_at is None:
                self.placing.no_cell()  # its cell never came to work

    def _look_at_clock(self) -> None:
        """Was the wall clock set back, now or while no farm ran? Then nothing waits for what it said before."""
        now, before = self.ledger.clock(), self._seen_at
        self._seen_at = now
        if now < before - SET_BACK_S:
            self._set_back = True
            for source in self.sources.values():
                source.set_back(before, now)
            self.placing.set_back(now)
        if self._set_back:
            self.ledger.tickets.set_back(now)

    def _save(self) -> None:
        for source in self.sources.values():
            source.save(self.ledger)

    # -- the end

    def done(self) -> bool:
        if self.lander.failure:
            raise self.lander.failure
        busy = bool(self.flights or self.settling.listings or self.settling.waits)
        if self._stuck_looks > STUCK_LOOKS and (self._drain or self._stop_at is not None):
            raise DiskFull(self.home)
        if self._stop_at is not None:
            return not busy
        return self._drain and not busy and self._inbox.empty() and not self.open_jobs()

    def _is_stuck(self) -> bool:
        """Nothing runs, and what is left cannot be written: without room the end never comes."""
        if not self.pressure.on or self.flights.running():
            return False
        waits = self._drain and not self.flights.landing() and not self.settling.waits
        return bool(self.starved or self.lander.full or self.settling.listings or waits)

    def open_jobs(self) -> int:
        """Jobs that a drain waits for: of sources that are in farm.toml and not paused."""
        active = [name for name, source in self.sources.items() if not source.paused]
        row = self.ledger.connection.execute(
            "SELECT coalesce(sum(n), 0) FROM total WHERE state IN ('pending', 'running', 'retrying')"
            " AND source IN (SELECT value FROM json_each(?))",
            (json.dumps(active),),
        ).fetchone()
        return int(row[0])

    def _press_for_end(self) -> None:
        """While stopping: ask the running to stop, and interrupt them when the grace is over."""
        if self._stop_at is None:
            return
        self.pool.ask_stop(None)
        if self._monotonic() >= self._stop_at and not self._interrupted:
            self._interrupted = True
            for flight in self.flights.running():
                self.pool.kill(flight.launch.id, Outcome.INTERRUPTED, "the farm stopped")

    # -- what operations ask of a running farm

    @property
    def pressed(self) -> bool:
        """The disk is full: what runs may end, nothing new is taken or started."""
        return self.pressure.on

    def resting_until(self, name: str) -> float | None:
        """When the open breaker of this source tries again."""
        source = self.sources.get(name)
        return source.resting_until(self.ledger.clock()) if source else None

    def interrupt(self, job_id: int, event: Event, actor: str) -> bool:
        """End a running job for an operator; False when it has ended and is landing."""
        flight = self.flights.of_job(job_id)
        if flight is None or flight.over:
            return False
        self.flights.intents[job_id] = (event, actor)
        outcome = Outcome.CANCELLED if event is Event.CANCEL else Outcome.INTERRUPTED
        self.pool.kill(flight.launch.id, outcome, f"{event} by {actor}", job_id)
        return True

    def status(self) -> dict[str, Any]:
        """What runs, what it may take, and what waits for what."""
        running = self.flights.running()
        return {
            "stopping": self._stop_at is not None,
            "pressed": PRESSED if self.pressed else "",
            "cells": [asdict(cell) for cell in self.pool.facts()],
            "budget": {
                **asdict(self.placing.budget),
                "cpu_held": sum(flight.launch.cpu for flight in running),
                "memory_held_bytes": sum(flight.memory_bytes for flight in running),
                "cells_held": len(running),
            },
            "holds": [asdict(hold) for hold in self.placing.holds(1)],
            "landing": self.flights.landing(),
        }

    def hold(self, job_id: int) -> str:
        """Why a waiting job waits, by a plan made now."""
        row = self.ledger.connection.execute(
            "SELECT queue, due_at, lease FROM task WHERE id = ?", (job_id,)
        ).fetchone()
        if row is None or row[1] is not None or row[2] is not None:
            return ""
        if row[0] not in self.sources:
            return f"its source {row[0]} is not in farm.toml any more"
        if self.pressed:
            return f"waits: {PRESSED}"
        for hold in self.placing.holds(self.placing.budget.cells):
            if hold.source == row[0]:
                return hold.sentence
        return "it is next in line"
