"""One job's attempt: calls the connector and writes what it yields to the spool."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from farm.connector import Document, Item, Listing, Log, Progress
from farm.core.job import JobSpec, Outcome, Reason, Stage
from farm.lines import MAX_LINE_BYTES, encode
from farm.workers.context import LOG, Desk, JobContext, payload_of, unit_of
from farm.workers.fault import MESSAGE_CHARS, Refused

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

    __slots__ = ("context", "desk", "items", "job", "listed")

    def __init__(self, desk: Desk, job: JobSpec) -> None:
        self.desk = desk
        self.job = job
        self.items = 0
        self.listed = False

    def run(self) -> tuple[Outcome, str]:
        """The outcome, or whatever the connector raises; of a listing that succeeded also what it warned of.

        One that saw the request to stop and came back early has not finished: it runs again, costing nothing.
        """
        payload = payload_of(self.job)
        self.context: JobContext[Any] = JobContext(self.desk, self.job, payload)
        try:
            remark = self._list(payload) if self.job.stage is Stage.DISCOVER else self._read(payload)
            if self.context.saw_stop and not self.listed:
                return Outcome.INTERRUPTED, "it stopped early, as it was asked to"
            return Outcome.SUCCEEDED, remark
        finally:
            self.context.close()

    def _list(self, payload: dict[str, Any]) -> str:
        with _warnings() as warned:
            self._write(self.desk.connector().discover(self.context, payload.get("cursor")))
        text = self.context.redact(" ".join("; ".join(warned).split()))
        return text if len(text) <= MESSAGE_CHARS else text[: MESSAGE_CHARS - 1] + "…"

    def _read(self, payload: dict[str, Any]) -> str:
        self._write(self.desk.connector().extract(self.context, unit_of(self.job, payload)))
        return ""

    def _write(self, found: Iterator[Item] | None) -> None:
        spool, beat, is_child = self.desk.spool, self.desk.beat, self.desk.is_child
        start, flushed_at = spool.offset, time.monotonic()
        for item in found or ():
            if is_child():
                os._exit(70)
            now = time.monotonic()
            if isinstance(item, Progress):
                self.context.progress(item.done, item.total, item.message)
                continue
            if isinstance(item, Log):
                LOG.log(_LEVELS.get(item.level.lower(), 20), "%s", item.message)
                beat.alive(now)
                if item.level != "rejected":  # those are counted where the good ones land
                    continue
                item = Log(self.context.redact(item.message), item.level)
            beat.alive(now)
            spool.line(self._encoded(item))
            self.items += 1
            if isinstance(item, Listing):
                self.listed = True
            if spool.offset - start > self.desk.max_bytes:
                raise Refused(
                    f"it found more than {self.desk.max_bytes:,} bytes in one job", Reason.RESOURCE_EXHAUSTED
                )
            if now - flushed_at > FLUSH_S:
                spool.flush()
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


def _too_large(item: Item, size: int) -> Refused:
    what = type(item).__name__
    return Refused(
        f"it yielded a {what} of {size:,} bytes; the most is {MAX_LINE_BYTES:,}", Reason.RESOURCE_EXHAUSTED
    )


_LEVELS = {"debug": 10, "info": 20, "warning": 30, "warn": 30, "rejected": 30, "error": 40, "critical": 50}
