"""Imports point one way, so that every part can be read, tested and replaced without those above it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LAYERS = (
    "core",
    "connector",
    "shortage lines errors words quantities fingerprint fleeting swap telemetry triggers.cron",
    "secrets",
    "registry home sqlite machine reserve control signals spool tables",
    "settings",
    "ledger workers store triggers",
    "sources intake settle lander",
    "operations recovery dispatch deliveries",
    "firing desk",
    "supervisor",
    "doctor backup trial",
    "cli web",
)
"""A part imports from itself and from the layers before its own; parts of one layer do not know each other."""

LEVEL = {f"farm.{part}": level for level, parts in enumerate(LAYERS) for part in parts.split()}

IMPURE = set(
    "asyncio datetime io logging multiprocessing os pathlib random secrets shutil "  # noqa: SIM905 - a list of words
    "signal socket sqlite3 subprocess tempfile threading time uuid".split()
)
"""What core has no business with: the clock, chance, and everything outside the process."""

VALUES = ("farm", "msgspec")
"""msgspec only for frozen values: it makes them ten times as fast as dataclasses do, and each job needs several."""

OUTSIDE_WORKERS = (
    "farm.ledger",
    "farm.store",
    "farm.triggers",
    "farm.settings",
    "farm.firing",
    "farm.desk",
    "farm.supervisor",
    "farm.cli",
)


def files(package: str) -> Iterator[Path]:
    return (ROOT / package).rglob("*.py")


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


@cache
def imports(file: Path) -> frozenset[str]:
    """The modules that this file names, those inside functions included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute here"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                names.add(whole if is_module(whole) else str(node.module))
    return frozenset(names)


def part_of(module: str) -> str | None:
    """The most exact entry of LAYERS that this module belongs to."""
    while module and module not in LEVEL:
        module = module.rpartition(".")[0]
    return module or None


FARM = sorted(files("farm"))


@pytest.mark.parametrize("file", FARM, ids=module_of)
def test_imports_point_one_way(file: Path) -> None:
    module = module_of(file)
    if module == "farm":
        assert not any(name.startswith("farm.") for name in imports(file))
        return
    part = part_of(module)
    assert part, f"give {module} a place in LAYERS"
    for name in imports(file):
        other = part_of(name)
        if other and other != part:
            assert LEVEL[other] < LEVEL[part], f"{module} must not import {name}"
        assert not name.startswith(("connectors", "tests", "loadtest")), f"{module} must not import {name}"


@pytest.mark.parametrize("file", sorted(files("connectors")), ids=module_of)
def test_a_connector_knows_nothing_of_the_farm_but_its_interface(file: Path) -> None:
    ours = {name for name in imports(file) if name.split(".")[0] in ("farm", "tests", "loadtest")}
    assert ours <= {"farm.connector", "farm.lines"}


@pytest.mark.parametrize("file", sorted(files("farm/core")), ids=module_of)
def test_core_is_pure(file: Path) -> None:
    for name in imports(file):
        top = name.split(".")[0]
        assert top in VALUES or top in sys.stdlib_module_names, f"core must not need {name}"
        assert top not in IMPURE, f"core must not import {name}"


def test_a_worker_process_never_imports_what_opens_the_databases() -> None:
    seen: set[str] = set()
    edge = {"farm.workers.worker", "farm.workers.preload"}
    while edge:
        module = edge.pop()
        seen.add(module)
        path = ROOT.joinpath(*module.split("."))
        file = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
        edge |= {name for name in imports(file) if name.startswith("farm.")} - seen
    assert "farm.connector" in seen
    assert not {module for module in seen if module.startswith(OUTSIDE_WORKERS)}
