"""A real folder under a real watch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from farm.triggers.watch import Pace, Watch
from tests.support.wait import until

SWIFT = Pace(quiet_s=0.1, max_wait_s=0.6, look_s=0.1, poll_s=0.3, retry_s=0.4, overflow_s=0.6)


@dataclass
class Seen:
    """What a watch told, with the time."""

    fires: list[tuple[float, list[str] | None]] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)

    def fire(self, source: str, keys: list[str] | None) -> None:
        assert source == "notes"
        self.fires.append((time.monotonic(), keys))

    def degraded(self, source: str, sentence: str) -> None:
        assert source == "notes"
        self.sentences.append(sentence)

    @property
    def keys(self) -> set[str]:
        return {key for _, keys in self.fires for key in keys or ()}

    @property
    def listings(self) -> int:
        return sum(keys is None for _, keys in self.fires)


def begin(path: Path, seen: Seen, pace: Pace = SWIFT, rescan_s: float | None = None) -> Watch:
    watch = Watch(
        "notes",
        path,
        lambda changed: str(changed.relative_to(path)),
        seen.fire,
        seen.degraded,
        rescan_s=rescan_s,
        pace=pace,
    )
    watch.start()
    return watch


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "notes"
    path.mkdir()
    return path


@pytest.fixture
def watching(folder: Path, seen: Seen) -> Iterator[Callable[..., Watch]]:
    """Begin to watch the folder; returns once the watch stands."""
    watches: list[Watch] = []

    def start(path: Path = folder, pace: Pace = SWIFT, rescan_s: float | None = None) -> Watch:
        watch = begin(path, seen, pace, rescan_s)
        watches.append(watch)
        until(lambda: seen.listings, what="the first listing")
        return watch

    yield start
    for watch in watches:
        watch.close()
