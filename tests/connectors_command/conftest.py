"""Programs for the command connector: each test writes its own and runs it for real."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.command import Command
from farm.connector import Item, Unit
from tests.support.plain_context import PlainContext
from tests.support.wait import until


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
def no_children_left() -> Iterator[None]:
    """No child of the test process lives after the test that did not before."""
    before = living_children()
    yield
    until(lambda: living_children() <= before, what="no child is left")


def living_children() -> set[int]:
    """Without the dead: where the test process adopts orphans, as the farm does, nobody has reaped them yet."""
    found = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {int(pid) for pid in found if lives(int(pid))}


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
