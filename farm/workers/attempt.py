"""One job's attempt: calls the connector and writes what it yields to the spool."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from farm.connector import Connector, Document, Item, Listing, Log, Progress, Unit
from farm.core.job import JobSpec, Launch, Outcome, Reason, Stage
from farm.lines import MAX_LINE_BYTES, encode
from farm.workers.beat import Beat
from farm.workers.context import LOG, JobContext
from farm.workers.fault import MESSAGE_CHARS, Refused
from farm.workers.spool import Writer
from farm.workers.throttle import Throttle
from farm.workers.vault import Vault

FLUSH_S = 1.0
MOST_WARNINGS = 100
"""More of one job are in its log only."""


class _Warned(logging.Handler):
    """Keeps what a connector warned of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.said) < MOST_WARNINGS:
            self.said.append(record.getMessage())


@contextmanager
def _warnings() -> Iterator[list[str]]:
    handler = _Warned()
    LOG.addHandler(handler)
    try:
        yield handler.said
    finally:
        LOG.removeHandler(handler)


class Attempt:
    """Runs once."""

    def __init__(
        self,
        connector: type[Connector[Any]],
        options: Any,
        launch: Launch,
        job: JobSpec,
        *,
        spool: Writer,
        beat: Beat,
        vault: Vault,
        throttle: Throttle,
        scratch: Path,
        cache: Path,
        max_bytes: int,
        is_child: Callable[[], bool],
    ) -> None:
        self.connector = connector
        self.job = job
        self.spool = spool
        self.beat = beat
        self.max_bytes = max_bytes
        self.is_child = is_child
        self.items = 0
        self.listed = False
        self.payload: dict[str, Any] = json.loads(job.payload) or {}
        self.context: JobContext[Any] = JobContext(
            options,
            launch.source,
            beat,
            scratch=scratch,
            cache=cache,
            vault=vault,
            memory_bytes=launch.limits.memory_bytes,
            timeout_s=launch.limits.timeout_s,
            held=self.payload.get("held") or "",
            paths=self.payload.get("paths"),
            ahead=lambda: _after(launch, job),
            throttle=throttle,
        )

    def run(self) -> tuple[Outcome, str]:
        """The outcome, or whatever the connector raises; of a listing that succeeded also what it warned of.

        One that saw the request to stop and came back early has not finished: it runs again, costing nothing.
        """
        try:
            with _warnings() as warned:
                self._write(self._found())
            if self.context.saw_stop and not self.listed:
                return Outcome.INTERRUPTED, "it stopped early, as it was asked to"
            return Outcome.SUCCEEDED, self._remark(warned) if self.job.stage is Stage.DISCOVER else ""
        finally:
            self.context.close()

    def _remark(self, warned: list[str]) -> str:
        text = self.context.redact(" ".join("; ".join(warned).split()))
        return text if len(text) <= MESSAGE_CHARS else text[: MESSAGE_CHARS - 1] + "…"

    def _found(self) -> Iterable[Item | Progress | Log] | None:
        reader = self.connector()
        if self.job.stage is Stage.DISCOVER:
            return reader.discover(self.context, self.payload.get("cursor"))
        return reader.extract(self.context, _unit(self.job, self.payload))

    def _write(self, found: Iterable[Item | Progress | Log] | None) -> None:
        start, flushed_at = self.spool.offset, time.monotonic()
        for item in found or ():
            if self.is_child():
                os._exit(70)
            now = time.monotonic()
            if isinstance(item, Progress):
                self.context.progress(item.done, item.total, item.message)
                continue
            if isinstance(item, Log):
                LOG.log(_LEVELS.get(item.level.lower(), 20), "%s", item.message)
                self.beat.alive(now)
                if item.level != "rejected":  # those are counted where the good ones land
                    continue
                item = Log(self.context.redact(item.message), item.level)
            self.beat.alive(now)
            self.spool.line(self._encoded(item))
            self.items += 1
            if isinstance(item, Listing):
                self.listed = True
            if self.spool.offset - start > self.max_bytes:
                raise Refused(
                    f"it found more than {self.max_bytes:,} bytes in one job", Reason.RESOURCE_EXHAUSTED
                )
            if now - flushed_at > FLUSH_S:
                self.spool.flush()
                flushed_at = now

    def _encoded(self, item: Item) -> bytes:
        if not isinstance(item, Item):
            raise Refused(f"it yielded a {type(item).__name__}, which is no item", Reason.CONNECTOR_ERROR)
        if isinstance(item, Document) and len(item.text) > MAX_LINE_BYTES:
            raise _too_large(item, len(item.text))  # known before seconds are spent on encoding it
        try:
            raw = encode(item)
        except (TypeError, ValueError, RecursionError) as error:
            raise Refused(
                f"it yielded a {type(item).__name__} that JSON cannot hold: {error}", Reason.CONNECTOR_ERROR
            ) from error
        if len(raw) > MAX_LINE_BYTES:
            raise _too_large(item, len(raw))
        return raw


def _unit(job: JobSpec, payload: dict[str, Any]) -> Unit:
    return Unit(job.key, job.version, payload.get("data") or {}, payload.get("uri") or "")


def _after(launch: Launch, job: JobSpec) -> Iterator[Unit]:
    """The units of the jobs that come after this one in its launch."""
    for other in launch.jobs[launch.jobs.index(job) + 1 :]:
        yield _unit(other, json.loads(other.payload) or {})


def _too_large(item: Item, size: int) -> Refused:
    what = type(item).__name__
    return Refused(
        f"it yielded a {what} of {size:,} bytes; the most is {MAX_LINE_BYTES:,}", Reason.RESOURCE_EXHAUSTED
    )


_LEVELS = {"debug": 10, "info": 20, "warning": 30, "warn": 30, "rejected": 30, "error": 40, "critical": 50}
