"""The context a connector is given: implements `farm.connector.Context` inside the worker."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel

from farm.connector import Unit
from farm.workers.beat import Beat
from farm.workers.throttle import Throttle
from farm.workers.vault import Vault

OptionsT = TypeVar("OptionsT", bound=BaseModel)

LOG = logging.getLogger("connector")


class JobContext(Generic[OptionsT]):
    """One job's context."""

    __slots__ = (
        "_ahead",
        "_beat",
        "_cache",
        "_made",
        "_scratch",
        "_throttle",
        "_vault",
        "held",
        "log",
        "memory_bytes",
        "options",
        "paths",
        "saw_stop",
        "source",
        "timeout_s",
    )

    def __init__(
        self,
        options: OptionsT,
        source: str,
        beat: Beat,
        *,
        scratch: Path,
        cache: Path,
        vault: Vault,
        throttle: Throttle,
        memory_bytes: int,
        timeout_s: float,
        held: str = "",
        paths: list[str] | None = None,
        ahead: Callable[[], Iterator[Unit]] = lambda: iter(()),
    ) -> None:
        self.options = options
        self.source = source
        self.log = LOG
        self.held = held
        self.paths = paths
        self.memory_bytes = memory_bytes
        self.timeout_s = timeout_s
        self.saw_stop = False
        self._ahead = ahead
        self._beat = beat
        self._cache = cache
        self._made = False
        self._scratch = scratch
        self._throttle = throttle
        self._vault = vault

    @property
    def scratch(self) -> Path:
        if not self._made:
            self._scratch.mkdir(parents=True, exist_ok=True)
            self._made = True
        return self._scratch

    @property
    def cache(self) -> Path:
        self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._cache

    @property
    def ahead(self) -> Iterator[Unit]:
        return self._ahead()

    @property
    def stop_requested(self) -> bool:
        if self._beat.stop:
            self.saw_stop = True
            return True
        return False

    def secret(self, name: str) -> str:
        return self._vault.secret(name)

    def throttle(self) -> bool:
        return self._throttle.wait(self._beat.sign, lambda: self.stop_requested)

    def progress(self, done: int = 0, total: int | None = None, message: str = "") -> None:
        self._beat.sign(done, total, self._vault.redact(message) if message else "")

    def redact(self, text: str) -> str:
        """The text without secrets: for what a job says on a way of its own."""
        return self._vault.redact(text)

    def close(self) -> None:
        """Remove the scratch folder, where there is one."""
        if self._made:
            shutil.rmtree(self._scratch, ignore_errors=True)
