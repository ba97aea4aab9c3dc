"""Progress for people: a bar per source on a terminal, a plain line now and then elsewhere.

It reads the tallies of open runs, a few rows, through a read-only connection: the farm does not notice.
"""

from __future__ import annotations

import sqlite3
import sys
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from farm import control
from farm.cli.run_lines import Wait, did, done, ending, plain, wait_of, waits
from farm.errors import FarmError, FarmNotRunning
from farm.home import owner
from farm.ledger import views
from farm.words import plural, span, when

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from farm.cli.app import App

Row = dict[str, Any]

LOOK_S = 0.25
IDLE_LOOK_S = 1.0
"""The same while nothing runs: a farm that waits should cost nothing."""
PLAIN_S = 5.0
"""How often a plain line is written while something moves."""
RATE_S = 5.0
"""The window of the rate shown."""


class Rate:
    """Things per second over the last seconds."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []

    def of(self, count: int, now: float) -> float:
        """
        >>> rate = Rate()
        >>> rate.of(0, 0.0), rate.of(10, 1.0), rate.of(30, 2.0)
        (0.0, 10.0, 15.0)
        """
        self._seen.append((now, count))
        while len(self._seen) > 2 and self._seen[0][0] < now - RATE_S:
            del self._seen[0]
        began, first = self._seen[0]
        return (count - first) / (now - began) if now > began else 0.0


class Watcher:
    """Follows runs, and says how each ended. One `look` at a time, from one thread.

    `only`: these runs; else all that are open, or began after the run `last`, and those `left` open before.
    `each`: every run is worth a line.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        only: Sequence[int] | None = None,
        last: int = 0,
        *,
        left: Sequence[int] = (),
        each: bool = False,
    ) -> None:
        self._db = db
        self._only = None if only is None else set(only)
        self._last = last
        self._each = each or only is not None
        self._seen: set[str] = set()
        self._followed: dict[int, Row] = {run_id: {} for run_id in (*(only or ()), *left)}
        self._before: dict[int, dict[str, int]] = {}
        """The documents of runs that were over, where it goes on or may: jobs in quarantine can be tried again."""
        self._rates: dict[int, Rate] = {}
        self._plain_at = time.monotonic()
        self._said: list[tuple[str, Wait | None]] = []
        self._bars: dict[int, TaskID] = {}
        self._drawn: Progress | None = None
        if sys.stderr.isatty():
            self._drawn = _bars()

    def look(self) -> list[Row]:
        """Draw what is open; the runs that ended since the last look."""
        now = time.monotonic()
        current = [row for row in views.open_runs(self._db) if self._only is None or row["id"] in self._only]
        rates = {}
        fuses = views.fuses(self._db) if current else {}
        for row in current:
            row["waits"] = wait_of(self._db, row, fuses.get(row["source"]))
            if row["id"] <= self._last and row["id"] not in self._followed.keys() | self._before.keys():
                self._before[row["id"]] = views.run(self._db, row["id"])["documents"]
            self._followed[row["id"]] = row
            rates[row["id"]] = self._rates.setdefault(row["id"], Rate()).of(done(row), now)
        ended = []
        for run_id in sorted(self._begun() - {row["id"] for row in current}):
            self._followed.pop(run_id, None)
            row = views.run(self._db, run_id)
            ended.append(row)
            # Of a watched source that finds nothing new, the first run is worth a line, and no other.
            before = self._before.pop(run_id, None)
            if self._each or row["source"] not in self._seen or did(row):
                self.say(ending(row, before))
            self._seen.add(row["source"])
            if row["jobs"]["quarantined"]:
                self._before[run_id] = row["documents"]
            self._remove_bar(run_id)
        if self._drawn is not None:
            self._draw(self._drawn, current, rates)
        elif current and now >= self._plain_at + PLAIN_S:
            self._plain_at = now
            self._say_plain(current, rates)
        return ended

    def _say_plain(self, current: list[Row], rates: dict[int, float]) -> None:
        """A line, unless it would be the last one again, but for the time left until a next try."""
        said = [(plain(row, rates[row["id"]], now=0.0), row["waits"]) for row in current]
        if said != self._said:
            self._said = said
            self.say("; ".join(plain(row, rates[row["id"]], time.time()) for row in current))

    def _begun(self) -> set[int]:
        """Runs not yet said to be over: also those that began and ended between two looks."""
        begun = set(self._followed)
        if self._only is None:
            new = views.runs_after(self._db, self._last)
            self._last = max(new, default=self._last)
            begun.update(new)
        return begun

    def held(self) -> list[int]:
        """Runs that cannot end before somebody resumes their jobs."""
        return [run_id for run_id, row in self._followed.items() if row and row["state"] == "paused"]

    @property
    def quiet(self) -> bool:
        return not self._followed

    def say(self, text: str) -> None:
        """A line that stays, above the bars."""
        if self._drawn is not None:
            self._drawn.console.print(text, markup=False, highlight=False)
        else:
            click.echo(text, err=True)

    def say_stopping(self, grace_s: float) -> list[int]:
        """Say what the end waits for; those attempts."""
        running = views.running_attempts(self._db)
        if not running:
            self.say("stopping")
        elif grace_s <= 0:
            self.say(f"stopping: {plural(len(running), 'job')} cut short")
        else:
            have = "has" if len(running) == 1 else "have"
            self.say(
                f"stopping: {plural(len(running), 'job')} {have} {span(grace_s)} to finish;"
                " Ctrl-C again ends them now"
            )
        return running

    def say_stopped(self, attempts: list[int]) -> None:
        cut = views.interrupted(self._db, attempts)
        were = "was" if cut == 1 else "were"
        self.say(f"stopped; {plural(cut, 'job')} {were} interrupted" if cut else "stopped")

    def close(self) -> None:
        if self._drawn is not None:
            self._drawn.stop()
        self._db.close()

    def _draw(self, drawn: Progress, current: list[Row], rates: dict[int, float]) -> None:
        for row in current:
            if row["id"] not in self._bars:
                self._bars[row["id"]] = drawn.add_task(
                    row["source"], total=None, rate="", failed="", waits=""
                )
            quarantined, total = row["jobs"]["quarantined"], sum(row["jobs"].values())
            drawn.update(
                self._bars[row["id"]],
                completed=done(row),
                # One job is the listing: how much there is, is not known yet.
                total=total if total > 1 else None,
                rate=f"{rates[row['id']]:,.0f}/s",
                failed=f"{quarantined:,} refused" if quarantined else "",
                waits=waits(row["waits"], time.time()),
            )
        if current and not drawn.live.is_started:
            drawn.start()
        elif not current and drawn.live.is_started:
            drawn.stop()
        if drawn.live.is_started:
            drawn.refresh()

    def _remove_bar(self, run_id: int) -> None:
        if self._drawn is not None and (bar := self._bars.pop(run_id, None)) is not None:
            self._drawn.remove_task(bar)


def until_over(app: App, run_ids: Sequence[int]) -> list[Row]:
    """Show these runs until they are over; how each ended. Raises FarmNotRunning when the farm ends first."""
    watcher = Watcher(app.ledger(), run_ids)
    ended: list[Row] = []
    try:
        while len(ended) < len(set(run_ids)):
            running = owner(app.home) is not None
            ended += watcher.look()
            if held := watcher.held():
                raise FarmError(
                    f"run {held[0]} waits for you: jobs of it are paused (`farm jobs resume --all`)"
                )
            if not running and len(ended) < len(set(run_ids)):
                raise FarmNotRunning(app.home)
            time.sleep(LOOK_S)
    finally:
        watcher.close()
    return ended


class Showing(threading.Thread):
    """The progress of `farm start`, beside the farm and in its process; it can fail without harm."""

    def __init__(self, app: App, drain: bool) -> None:
        super().__init__(name="progress", daemon=True)
        self._app = app
        self._drain = drain
        self._over = False
        self._bell = threading.Event()
        """Rung when the farm stops, and when it is over."""
        self._grace_s: float | None = None
        """How long running jobs may finish, once the farm stops."""
        self._cut: list[int] | None = None
        """The attempts that ran when this was told."""
        self._last, self._left = _before(app)

    def run(self) -> None:
        try:
            while not control.answers(self._app.home) and not self._bell.wait(LOOK_S):
                pass
            db = views.connect(self._app.home)
            watcher = Watcher(db, last=self._last, left=self._left, each=self._drain)
            try:
                self._follow(watcher)
            finally:
                watcher.close()
        except Exception as error:  # noqa: BLE001  # whatever ails the progress must not ail the farm
            click.echo(f"farm: progress cannot be shown: {error}", err=True)

    def stopping(self, grace_s: float) -> None:
        """The farm stops: say so."""
        self._grace_s = grace_s
        self._bell.set()

    def close(self) -> None:
        self._over = True
        self._bell.set()
        self.join(2.0)

    def _follow(self, watcher: Watcher) -> None:
        welcomed = self._drain
        quiet = 0
        while not self._over:
            self._bell.wait(IDLE_LOOK_S if welcomed and watcher.quiet else LOOK_S)
            self._bell.clear()
            self._say_stopping(watcher)
            watcher.look()
            quiet = quiet + 1 if watcher.quiet else 0
            if not welcomed and quiet >= 4 and self._grace_s is None:
                welcomed = True
                watcher.say(f"search it: {self._app.say('search WORDS')}")
                watcher.say(f"{self._waits_for()}; Ctrl-C stops (again: at once)")
        self._say_stopping(watcher)
        watcher.look()
        if self._cut is not None:
            watcher.say_stopped(self._cut)

    def _say_stopping(self, watcher: Watcher) -> None:
        if self._grace_s is not None and self._cut is None:
            self._cut = watcher.say_stopping(self._grace_s)

    def _waits_for(self) -> str:
        """What has the farm work again: a change that it watches for, a schedule, or somebody."""
        db = views.connect(self._app.home)
        try:
            known = views.sources(db)
        finally:
            db.close()
        return waits_for(self._app.tables(), known, time.time())


def waits_for(tables: dict[str, Row], known: dict[str, Row], now: float) -> str:
    """Of the sources' tables in farm.toml, and what the ledger knows of them. A paused source waits for nothing.

    >>> waits_for({"a": {"watch": True}}, {}, 0.0)
    'watching…'
    >>> waits_for({"a": {}, "b": {}}, {"a": {"paused_at": None, "next_fire_at": 900.0}}, 0.0)
    'next run: a in 15 min'
    >>> waits_for({"a": {}}, {"a": {"paused_at": None, "next_fire_at": None}}, 0.0)
    'waiting for `farm run NAME`'
    """
    awake = {name: known.get(name, {}) for name in tables if not known.get(name, {}).get("paused_at")}
    if any(tables[name].get("watch") is True for name in awake):
        return "watching…"
    due = [(row["next_fire_at"], name) for name, row in awake.items() if row.get("next_fire_at") is not None]
    if due:
        at, name = min(due)
        return f"next run: {name} {when(max(at, now), now)}"
    return "waiting for `farm run NAME`"


def _before(app: App) -> tuple[int, list[int]]:
    """The id of the last run before this start, and of those that are not over."""
    db = views.connect(app.home)
    try:
        last = max((row["id"] for row in views.runs(db, limit=1)), default=0)
        return last, [row["id"] for row in views.open_runs(db)]
    finally:
        db.close()


def _bars() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[failed]}", style="red"),
        TextColumn("{task.fields[waits]}", style="yellow", markup=False),
        console=Console(stderr=True),
        auto_refresh=False,  # no thread of its own: `look` refreshes
        transient=True,
    )
