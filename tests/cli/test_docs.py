"""What the documentation says is compared with what it speaks of."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from farm import tables
from farm.core.job import Reason
from farm.core.lifecycle import diagram
from farm.core.retry import CLASSES, Strategy
from farm.settings import load
from tests.cli.world import Farm

PROJECT = Path(__file__).parents[2]
SETTINGS = (PROJECT / "docs" / "settings.md").read_text()
PAGES = [
    *(PROJECT / name for name in ("README.md", "ARCHITECTURE.md", "CHANGELOG.md")),
    *(PROJECT / "docs").glob("*.md"),
]


def test_the_architecture_draws_the_lifecycle_as_it_is() -> None:
    assert diagram().rstrip() in (PROJECT / "ARCHITECTURE.md").read_text()


@pytest.mark.parametrize(
    "table",
    [tables.FarmTable, tables.SourceTable, tables.ProfileTable, tables.RetryTable, tables.LimitsTable],
    ids=lambda t: t.__name__,
)
def test_every_setting_is_documented(table: type[tables.FarmTable]) -> None:
    for name, field in table.model_fields.items():
        word = field.alias or name
        assert f"`{word}`" in SETTINGS or f"[sources.NAME.{word}]" in SETTINGS, word


def test_every_retry_class_strategy_and_reason_is_documented() -> None:
    for name in (*CLASSES, *Strategy):
        assert f"`{name}`" in SETTINGS
    operating = (PROJECT / "docs" / "operating.md").read_text()
    for reason in set(Reason) - {Reason.INVALID_STATE, Reason.UNKNOWN}:
        assert f"`{reason}`" in operating


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_text_exist(page: Path) -> None:
    import click

    from farm.cli import farm as root

    context = click.Context(root)
    for noun, verb in re.findall(r"`(?:\.venv/bin/)?farm ([a-z]+)(?: ([a-z]+)\b)?", page.read_text()):
        command = root.get_command(context, noun)
        assert command is not None, noun
        if isinstance(command, click.Group) and verb:
            assert command.get_command(context, verb) is not None, f"{noun} {verb}"


def test_bare_make_prints_help() -> None:
    ran = subprocess.run(["make"], cwd=PROJECT, capture_output=True, text=True, check=True)
    for target in ("farm", "test", "lint", "loadtest", "clean"):
        assert re.search(rf"^  {target} +\S", ran.stdout, re.MULTILINE), target


def test_make_farm_without_a_folder_reads_and_watches_the_projects_files(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT)
    ran = subprocess.run(["make", "-n", "farm"], capture_output=True, text=True, check=True)
    (line,) = (line for line in ran.stdout.splitlines() if "/farm add " in line)
    assert farm(*shlex.split(line)[1:]).code == 0
    source = load(farm.home / "farm.toml").sources["farm-docs"]
    assert (source.connector, source.watch) == ("local_files", True)
