"""Errors of the command line, for programs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from farm.cli import faults, reference
from farm.errors import FarmError
from tests.cli.world import Farm, Jobs


@pytest.mark.parametrize(
    ("command", "code", "kind", "says"),
    [
        (("jobs", "list", "--source", "nots"), 1, "unknown_source", "did you mean notes?"),
        (("jobs", "show", "4711"), 1, "not_found", "there is no job 4711"),
        (("run", "notes", "--wait"), 1, "farm_not_running", "no farm is running"),
        (("runs", "--limit", "none"), 2, "usage", "'none'"),
        (("runs", "--nonsense"), 2, "usage", "--nonsense"),
        (("nonsense",), 2, "usage", "nonsense"),
    ],
)
def test_errors_are_json_where_json_was_asked_for(
    farm: Farm, jobs: Jobs, command: tuple[str, ...], code: int, kind: str, says: str
) -> None:
    for ran in (farm("--format", "json", *command), farm("--format=json", *command)):
        assert (ran.code, ran.out) == (code, "")
        assert ran.err.count("\n") == 1
        error = json.loads(ran.err)["error"]
        assert (error["kind"], error["exit_code"]) == (kind, code)
        assert says in error["message"]
        assert error["messages"] == [error["message"]]
    assert farm(*command).err.startswith(("farm: ", "Usage: "))


def test_every_mistake_of_the_settings_is_an_entry_of_its_own(farm: Farm, jobs: Jobs) -> None:
    (farm.home / "farm.toml").write_text("[farm]\nworkers = 99\nmemory = 'much'\n")
    error = json.loads(farm("sources", "check", "--format", "json").err)["error"]
    assert error["kind"] == "config_errors"
    assert len(error["messages"]) == 2
    assert all("farm.toml: farm." in message for message in error["messages"])


def test_the_kinds_of_errors_are_all_in_the_reference() -> None:
    modules = Path(faults.__file__).parents[1].rglob("*.py")
    names = {
        name for path in modules for name in re.findall(r"^class (\w+)\(FarmError\)", path.read_text(), re.M)
    }
    assert {"UnknownSource", "SecretMissing", "BackupUnusable"} <= names
    kinds = [faults._kind(type(name, (FarmError,), {})()) for name in sorted(names)]
    assert not [kind for kind in kinds if f"`{kind}`" not in reference.HEAD]
