"""Where a person's requests are answered: by the running farm, or by the command line when none runs.

Both do what `farm.operations` says. A running farm's control threads bring each request to its dispatcher; without
one, the command line holds the farm's lock and changes the ledger itself.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from farm import home as homes
from farm import sqlite
from farm.core.job import Event
from farm.dispatch.dispatcher import Dispatcher
from farm.lander import Lander
from farm.ledger.ledger import Ledger
from farm.operations import Offline, Operations
from farm.settings import SourceSettings, load
from farm.sources import Source
from farm.store.store import Store

BRINGS_WORK = frozenset({"run", "submit", "retry_jobs"})
"""Operations that are refused while the disk is full."""


class Desk:
    """Of a running farm: what only it knows, and what only it can do."""

    def __init__(
        self,
        home: Path,
        dispatcher: Dispatcher,
        lander: Lander,
        sources: dict[str, Source],
        *,
        begun_at: float,
        stop: Callable[[bool], None],
        reload: Callable[[], dict[str, Any]],
        webhooks: Callable[[], dict[str, Any] | None],
    ) -> None:
        self._home = home
        self._dispatcher = dispatcher
        self._lander = lander
        self._sources = sources
        self._begun_at = begun_at
        self._stop = stop
        self._reload = reload
        self._webhooks = webhooks
        known = {name: source.settings for name, source in sources.items()}
        self._operations = Operations(dispatcher.ledger, known, self)

    def know(self, sources: Mapping[str, SourceSettings]) -> None:
        """farm.toml names these sources now."""
        self._operations.sources = sources

    def handle(self, op: str, args: dict[str, Any], actor: str) -> object:
        """A control thread: one request of the command line."""
        match op:
            case "ping":
                return {"pid": os.getpid(), "started_at": self._begun_at}
            case "status_live":
                return self._dispatcher.call(self._status)
            case "stop":
                self._stop(bool(args.get("now")))
                return {"stopping": True}
            case "reload":
                return self._reload()
        if op in BRINGS_WORK:
            self._dispatcher.pressure.refuse()
        return self._dispatcher.call(lambda: self._perform(op, args, actor))

    def _perform(self, op: str, args: dict[str, Any], actor: str) -> Any:
        result = self._operations.perform(op, args, actor)
        if op in ("pause_source", "resume_source"):
            self._sources[args["name"]].paused = bool(result["paused"])
        if op in ("resume_source", "run"):
            self._sources[args.get("name") or args["source"]].close_fuse()
        return result

    def _status(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "started_at": self._begun_at,
            "webhooks": self._webhooks(),
            **self._dispatcher.status(),
        }

    # -- what operations ask of a running farm

    def interrupt(self, job_id: int, event: Event, actor: str) -> bool:
        return self._dispatcher.interrupt(job_id, event, actor)

    def hold(self, job_id: int) -> str:
        return self._dispatcher.hold(job_id)

    def purge(self, source: str) -> None:
        def act(store: Store) -> None:
            store.remove_source(source)
            shutil.rmtree(homes.cache_of(self._home, source), ignore_errors=True)

        self._lander.do(act)

    def forget_usage(self, source: str) -> None:
        self._sources[source].forget_usage()


class OfflineDesk:
    """Of a farm that is down."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    def handle(self, op: str, args: dict[str, Any], actor: str) -> object:
        if op == "reload":
            return {}
        with self._operations.ledger.transaction():
            return self._operations.perform(op, args, actor)


@contextmanager
def offline(home: Path, config: Path) -> Iterator[OfflineDesk]:
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
            yield OfflineDesk(Operations(ledger, settings.sources, Offline(purge)))
        except sqlite3.DatabaseError as error:
            raise sqlite.in_words(home / homes.LEDGER, error) from error
