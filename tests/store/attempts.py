"""Attempts at one source, numbered as the ledger would number them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from typing import Any

from farm.connector import Document, Line, Unit
from farm.core.job import RunType, Stage
from farm.lines import Malformed
from farm.store.landing import Child, Landed, Landing
from farm.store.store import Store


class Attempts:
    """Lands what a test says an attempt found; every attempt has a larger id than the one before."""

    def __init__(self, store: Store, source: str = "notes", first: int = 1) -> None:
        self.store = store
        self.source = source
        self.next = first

    def extract(
        self, key: str, *lines: Line | Malformed, version: str = "1", attempt: int | None = None, **more: Any
    ) -> Landing:
        return self._landing(Stage.EXTRACT, lines, attempt, key=key, version=version, **more)

    def discover(
        self,
        *lines: Line | Malformed,
        attempt: int | None = None,
        run_type: RunType = RunType.INCREMENTAL,
        **more: Any,
    ) -> Landing:
        return self._landing(Stage.DISCOVER, lines, attempt, run_type=run_type, **more)

    def land(self, landing: Landing) -> Landed:
        return self.store.land([landing])[0]

    def hold(self, key: str, text: str, version: str = "1", **more: Any) -> Landed:
        """One unit with one document of the same key."""
        return self.land(
            self.extract(key, Document(key, text, **more), version=version, uri=f"file:///{key}")
        )

    def _landing(
        self, stage: Stage, lines: Iterable[Line | Malformed], attempt: int | None, **more: Any
    ) -> Landing:
        if attempt is None:
            attempt = self.next
            self.next += 1
        return Landing(
            source=self.source,
            job_id=attempt + 1000,
            attempt_id=attempt,
            stage=stage,
            lines=lines,
            **{"started_at": time.time(), **more},
        )


def unit(key: str, version: str = "1", **more: Any) -> Unit:
    return Unit(key, version, uri=f"file:///{key}", **more)


def names(children: Iterable[Child]) -> list[tuple[str, str]]:
    return [(child.key, child.version) for child in children]


def rows(store: Store, sql: str, *values: object) -> list[Any]:
    with sqlite3.connect(f"file:{store.path}?mode=ro", uri=True) as db:
        found = db.execute(sql, values).fetchall()
    db.close()
    return [row[0] if len(row) == 1 else row for row in found]


def counts(landed: Landed) -> dict[str, int]:
    """The counts that are not zero."""
    all_of_them = {
        name: getattr(landed, name)
        for name in ("new", "changed", "deleted", "unchanged", "rejected", "moved")
    }
    return {name: count for name, count in all_of_them.items() if count}
