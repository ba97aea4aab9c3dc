"""What a webhook delivery leads to: event runs of the sources that it concerns, once.

The delivery and the work it leads to are one transaction: acknowledged means that both are on disk. A delivery
that is already there is acknowledged and does nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from farm import registry
from farm.core.job import Priority, RunType
from farm.intake import Request, admit
from farm.ledger.ledger import Ledger
from farm.sources import Source
from farm.telemetry import Name, log
from farm.triggers.webhooks import Delivery, Verdict

KEPT_S = 30 * 86400.0
SWEEP_S = 3600.0


class Deliveries:
    """`receive` may be called by any thread; `call` is the dispatcher's."""

    def __init__(
        self,
        ledger: Ledger,
        sources: Callable[[], Mapping[str, Source]],
        call: Callable[[Callable[[], Verdict]], Verdict],
    ) -> None:
        self._ledger = ledger
        self._sources = sources
        self._call = call
        self._swept_at = 0.0
        self._options: dict[tuple[str, str], Any] = {}

    def receive(self, delivery: Delivery) -> Verdict:
        """Returns once it is on disk."""
        named = {name: keys for name, keys in self._named(delivery) if keys}
        if not named:
            return Verdict.IGNORED
        return self._call(lambda: self._admit(delivery, named))

    def _named(self, delivery: Delivery) -> list[tuple[str, list[str]]]:
        """The keys that it is about, of every source that knows them."""
        found = []
        for name, source in dict(self._sources()).items():
            settings = source.settings
            connector = registry.load(settings.connector)
            at = settings.connector, settings.options_json
            if at not in self._options:
                self._options[at] = connector.Options.model_validate_json(settings.options_json)
            keys = connector().webhook_keys(self._options[at], delivery.event, delivery.payload)
            found.append((name, keys or []))
        return found

    def _admit(self, delivery: Delivery, named: Mapping[str, list[str]]) -> Verdict:
        """The dispatcher's thread, in its transaction."""
        now, db = self._ledger.clock(), self._ledger.connection
        new = db.execute(
            "INSERT INTO delivery (id, event, sources, received_at) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (id) DO NOTHING RETURNING 1",
            (delivery.id, delivery.event, json.dumps(sorted(named)), now),
        ).fetchone()
        if new is None:
            return Verdict.REPEATED
        if now - self._swept_at > SWEEP_S:
            self._swept_at = now
            db.execute("DELETE FROM delivery WHERE received_at < ?", (now - KEPT_S,))
        for name, keys in named.items():
            source = self._sources().get(name)
            if source is None or source.paused:
                continue  # what is missed meanwhile comes with the run after it is resumed
            answer = admit(
                self._ledger,
                Request(
                    source.settings,
                    type=RunType.EVENT,
                    trigger="webhook",
                    actor=f"webhook {delivery.id}",
                    paths=tuple(keys),
                    priority=Priority.HIGH,
                ),
            )
            log(
                Name.WEBHOOK_RECEIVED,
                source=name,
                event=delivery.event,
                delivery=delivery.id,
                run=answer.run_id,
                coalesced=answer.coalesced,
            )
        return Verdict.ACCEPTED
