"""A connector's context whose request to stop comes when the test says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.context import Context


class PlainContext(Context):
    """`stop` is asked at each look at stop_requested; the scratch folder is there."""

    def __init__(
        self, options: Any, scratch: Path, *, stop: Callable[[], bool] = lambda: False, **more: Any
    ) -> None:
        self._stop = stop
        cache = more.pop("cache", scratch.parent / "cache")
        super().__init__(
            options, scratch=scratch, cache=cache, memory_bytes=more.pop("memory_bytes", 512 << 20), **more
        )
        scratch.mkdir(parents=True, exist_ok=True)
        cache.mkdir(parents=True, exist_ok=True)

    @property
    def stop_requested(self) -> bool:  # type: ignore[override]
        return self._stop()

    @stop_requested.setter
    def stop_requested(self, value: bool) -> None:
        """The plain context sets its default."""
