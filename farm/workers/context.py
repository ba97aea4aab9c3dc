"""The context a connector is given: implements `farm.connector.Context` inside the worker."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from farm.connector import Connector, Unit
from farm.core.job import JobSpec, Launch
from farm.workers.beat import Beat
from farm.workers.spool import Writer
from farm.workers.throttle import Throttle
from farm.workers.vault import Vault

OptionsT = TypeVar("OptionsT", bound=BaseModel)

LOG = logging.getLogger("connector")


@dataclass(frozen=True, slots=True)
class Desk:
    """What the jobs of one launch share at their worker."""

    connector: type[Connector[Any]]
    options: Any
    launch: Launch
    spool: Writer
    beat: Beat
    vault: Vault
    throttle: Throttle
    scratch: Path
    """Where each attempt has a folder of its own, once it asks for it."""
    cache: Path
    max_bytes: int
    """Most that one job may write."""
    is_child: Callable[[], bool]
    """Has a connector forked, and is this the child?"""


class JobContext(Generic[OptionsT]):
    """One job's context."""

    __slots__ = ("_desk", "_job", "_made", "held", "log", "options", "paths", "saw_stop")

    def __init__(self, desk: Desk, job: JobSpec, payload: dict[str, Any]) -> None:
        self.options: OptionsT = desk.options
        self.log = LOG
        self.held: str = payload.get("held") or ""
        self.paths: list[str] | None = payload.get("paths")
        self.saw_stop = False
        self._desk = desk
        self._job = job
        self._made = False

    @property
    def source(self) -> str:
        return self._desk.launch.source

    @property
    def memory_bytes(self) -> int:
        return self._desk.launch.limits.memory_bytes

    @property
    def timeout_s(self) -> float:
        return self._desk.launch.limits.timeout_s

    @property
    def scratch(self) -> Path:
        if not self._made:
            self._scratch.mkdir(parents=True, exist_ok=True)
            self._made = True
        return self._scratch

    @property
    def _scratch(self) -> Path:
        return self._desk.scratch / str(self._job.attempt_id)

    @property
    def cache(self) -> Path:
        self._desk.cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._desk.cache

    @property
    def ahead(self) -> Iterator[Unit]:
        jobs = self._desk.launch.jobs
        return (unit_of(job, payload_of(job)) for job in jobs[jobs.index(self._job) + 1 :])

    @property
    def stop_requested(self) -> bool:
        if self._desk.beat.stop:
            self.saw_stop = True
            return True
        return False

    def secret(self, name: str) -> str:
        return self._desk.vault.secret(name)

    def throttle(self) -> bool:
        return self._desk.throttle.wait(self._desk.beat.sign, lambda: self.stop_requested)

    def progress(self, done: int = 0, total: int | None = None, message: str = "") -> None:
        self._desk.beat.sign(done, total, self.redact(message) if message else "")

    def redact(self, text: str) -> str:
        """The text without secrets: for what a job says on a way of its own."""
        return self._desk.vault.redact(text)

    def close(self) -> None:
        """Remove the scratch folder, where there is one."""
        if self._made:
            shutil.rmtree(self._scratch, ignore_errors=True)


def payload_of(job: JobSpec) -> dict[str, Any]:
    """Written by the farm: there are no spaces around it, which to look for would take half of the time."""
    return _decode(job.payload)[0] or {}


def unit_of(job: JobSpec, payload: dict[str, Any]) -> Unit:
    return Unit(job.key, job.version, payload.get("data") or {}, payload.get("uri") or "")


_decode = json.JSONDecoder().raw_decode
