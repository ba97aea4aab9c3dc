"""Programs for the command connector: each test writes its own and runs it for real."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.command import Command
from farm.connector import Item, Unit
from tests.support.context import PlainContext


class Bench:
    """Runs the connector on a program written in Python (or another interpreter)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ctx: PlainContext

    def program(self, code: str, name: str = "program.py", interpreter: str = sys.executable) -> Path:
        path = self.folder / name
        path.write_text(f"#!{interpreter}\n" + textwrap.dedent(code))
        path.chmod(0o755)
        return path

    def context(self, code: str = "", *, more: Any = None, **options: Any) -> PlainContext:
        argv = options.pop("argv", None) or [str(self.program(code)), *options.pop("args", [])]
        self.ctx = PlainContext(
            Command.Options(argv=argv, **options), scratch=self.folder / "scratch", **(more or {})
        )
        return self.ctx

    def discover(self, code: str = "", *, cursor: Any = None, more: Any = None, **options: Any) -> list[Item]:
        return list(Command().discover(self.context(code, more=more, **options), cursor))

    def extract(self, code: str, unit: Unit, *, more: Any = None, **options: Any) -> list[Item]:
        return list(Command().extract(self.context(code, more=more, mode="units", **options), unit))

    def iterate(self, code: str = "", **options: Any) -> Iterator[Item]:
        return Command().discover(self.context(code, **options), None)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def no_children_left() -> Iterator[Callable[[], list[int]]]:
    """The test process has no more children after the test than before."""
    before = set(children())
    yield lambda: [pid for pid in children() if pid not in before]
    assert [pid for pid in children() if pid not in before] == []


def children() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
