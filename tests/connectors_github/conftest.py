from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.github import GitHub, GitHubOptions
from farm.connector import Document, Gone, Item, Listing, State, Unit
from tests.connectors_github.hub import Hub
from tests.support.plain_context import PlainContext


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path / "hub") as found:
        yield found


class Source:
    """The connector on some repositories, called as workers call it, with a store that is a dict."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.options = GitHubOptions.model_validate(options)
        self.secrets: dict[str, str] = {}
        self.cursor: Any = None
        self.held: dict[str, str] = {}
        self.documents: dict[str, Document] = {}
        self.items: list[Item] = []
        self.logged = ""
        self._calls = 0

    def context(self, **more: Any) -> PlainContext:
        self._calls += 1
        scratch = self.folder / f"scratch-{self._calls}"
        return PlainContext(self.options, scratch, cache=self.folder / "cache", secrets=self.secrets, **more)

    def check(self) -> str | None:
        return GitHub().check(self.context())

    def run(self, paths: list[str] | None = None, *, full: bool = False, **more: Any) -> list[str]:
        """Discover and extract what is new, as the farm would; the keys that were extracted."""
        ctx = self.context(paths=paths, **more)
        self.items = []
        try:
            for item in GitHub().discover(ctx, None if full else self.cursor):
                self.items.append(item)
        finally:
            self.logged = ctx.logged
        return self._land()

    def extract(self, unit: Unit) -> list[Item]:
        return list(GitHub().extract(self.context(), unit))

    def _land(self) -> list[str]:
        units = [item for item in self.items if isinstance(item, Unit)]
        listing = next((item for item in self.items if isinstance(item, Listing)), Listing())
        gone = {item.key for item in self.items if isinstance(item, Gone)}
        if listing.complete:
            unseen = self.held.keys() - {unit.key for unit in units}
            gone |= {key for key in unseen if not key.startswith(tuple(listing.unread))}
        for key in gone:
            self.held.pop(key, None)
            self.documents.pop(key, None)
        for item in self.items:
            if isinstance(item, State):
                self.cursor = item.value
        read = []
        for unit in units:
            if self.held.get(unit.key) != unit.version:
                read.append(unit.key)
                for item in self.extract(unit):
                    if isinstance(item, Document):
                        self.documents[unit.key] = item
                self.held[unit.key] = unit.version
        return read


@pytest.fixture
def source(tmp_path: Path) -> Callable[..., Source]:
    made = iter(range(100))
    return lambda **options: Source(tmp_path / f"source-{next(made)}", **options)
