"""A folder, and a way to list and read it as a worker does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connectors.local_files import LocalFiles
from farm import lines
from farm.connector import Document, Item, Unit
from tests.support.context import Context


class Folder:
    """`local_files` on one folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connector = LocalFiles()

    def context(self, *, paths: list[str] | None = None, held: str = "", **options: Any) -> Context:
        return Context(LocalFiles.Options(path=self.path, **options), paths=paths, held=held)

    def write(self, key: str, data: bytes | str = "some text") -> Path:
        path = self.path / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    def listed(self, *, cursor: Any = None, context: Context | None = None, **options: Any) -> list[Item]:
        return list(self.connector.discover(context or self.context(**options), cursor))

    def keys(self, **options: Any) -> list[str]:
        return [item.key for item in self.listed(**options) if isinstance(item, Unit)]

    def unit(self, key: str) -> Unit:
        return next(item for item in self.listed() if isinstance(item, Unit) and item.key == key)

    def extracted(self, key: str, *, context: Context | None = None, **options: Any) -> list[Item]:
        return list(self.connector.extract(context or self.context(**options), Unit(key, "")))

    def document(self, key: str, data: bytes | str | None = None, **options: Any) -> Document:
        """The one document of this file, having been through the line protocol."""
        if data is not None:
            self.write(key, data)
        (item,) = self.extracted(key, **options)
        decoded = lines.decode(lines.encode(item))
        assert isinstance(decoded, Document)
        return decoded


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    path = tmp_path / "folder"
    path.mkdir()
    return Folder(path)


@pytest.fixture
def types() -> Callable[[Document], list[tuple[str, str]]]:
    return lambda document: [(element.type, element.text) for element in document.elements]
