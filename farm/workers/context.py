"""The context a connector is given: implements `farm.connector.Context` inside the worker."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel

from farm.connector import Permanent
from farm.workers.beat import Beat
from farm.workers.redact import PREFIX

OptionsT = TypeVar("OptionsT", bound=BaseModel)

LOG = logging.getLogger("connector")


class JobContext(Generic[OptionsT]):
    """One job's context."""

    __slots__ = (
        "_beat",
        "_made",
        "_scratch",
        "_secrets",
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
        secrets: Mapping[str, str],
        memory_bytes: int,
        timeout_s: float,
        held: str = "",
        paths: list[str] | None = None,
    ) -> None:
        self.options = options
        self.source = source
        self.log = LOG
        self.held = held
        self.paths = paths
        self.memory_bytes = memory_bytes
        self.timeout_s = timeout_s
        self.saw_stop = False
        self._beat = beat
        self._made = False
        self._scratch = scratch
        self._secrets = secrets

    @property
    def scratch(self) -> Path:
        if not self._made:
            self._scratch.mkdir(parents=True, exist_ok=True)
            self._made = True
        return self._scratch

    @property
    def stop_requested(self) -> bool:
        if self._beat.stop:
            self.saw_stop = True
            return True
        return False

    def secret(self, name: str) -> str:
        variable = re.sub(r"\W", "_", name).upper()
        value = self._secrets.get(variable)
        if value is None:
            raise Permanent(
                f"there is no secret {name!r}; set {PREFIX}{variable}"
            )  # a colon would have it masked
        return value

    def progress(self, done: int = 0, total: int | None = None, message: str = "") -> None:
        self._beat.sign(done, total, message)

    def close(self) -> None:
        """Remove the scratch folder, where there is one."""
        if self._made:
            shutil.rmtree(self._scratch, ignore_errors=True)
