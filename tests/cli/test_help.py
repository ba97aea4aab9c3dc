from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from farm.cli import COMMANDS
from farm.cli import farm as root
from farm.cli.reference import every_command, reference
from farm.core.job import Reason, RunState, State
from farm.ledger import views
from tests.cli.world import Farm

PROJECT = Path(__file__).parents[2]
COMMANDS_MD = PROJECT / "docs" / "commands.md"


@pytest.mark.parametrize(
    ("name", "command"), list(every_command()), ids=[name for name, _ in every_command()]
)
def test_every_command_has_help_with_an_example_of_itself(name: str, command: click.Command) -> None:
    assert command.help and command.help.strip().endswith((".", "."))
    examples = command.examples  # type: ignore[attr-defined]
    assert any(name in example for example in examples)
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{name} {option.opts}"


def test_every_command_is_in_the_documentation_as_it_is() -> None:
    assert COMMANDS_MD.read_text() == reference(), "run `make docs`"


def test_the_nouns_and_verbs_that_others_rely_on_are_there() -> None:
    names = {name.removeprefix("farm ") for name, _ in every_command()}
    assert names >= {
        *("init", "add", "start", "stop", "status", "run", "runs", "search", "doctor", "backup", "restore"),
        *(f"jobs {verb}" for verb in ("list", "show", "explain", "cancel", "retry")),
        *(f"sources {verb}" for verb in ("list", "check", "preview", "pause", "resume", "remove")),
        *(f"quarantine {verb}" for verb in ("list", "show", "retry", "discard")),
        *(f"profile {verb}" for verb in ("show", "measure", "reset")),
        *("documents list", "documents show", "connectors", "completion"),
    }


def test_the_help_given_by_hand_says_what_the_command_says() -> None:
    context = click.Context(root, info_name="farm")
    for section in COMMANDS.values():
        for name, lazy in section.items():
            command = root.get_command(context, name)
            assert command is not None
            first = (command.help or "").split("\n\n")[0].replace("\n", " ")
            if isinstance(command, click.Group):
                assert first == lazy.help


@pytest.mark.parametrize(
    "args", [["-h"], ["--help"], ["jobs", "-h"], ["jobs", "list", "-h"], ["status", "--help"]]
)
def test_help_is_there_at_every_level(farm: Farm, args: list[str]) -> None:
    ran = farm(*args)
    assert ran.code == 0
    assert "Usage: farm" in ran.out
    assert "Examples:" in ran.out


def test_a_mistyped_command_is_a_usage_error_with_a_guess(farm: Farm) -> None:
    assert farm("jbos").code == 2
    assert "Did you mean jobs?" in farm("jbos").err
    assert "Did you mean list?" in farm("jobs", "lst").err
    assert farm("jobs", "list", "--state", "odd").code == 2
    assert farm("status", "--format", "xml").code == 2
    assert farm("jobs", "show", "twelve").code == 2


def test_the_states_offered_are_those_of_the_core() -> None:
    from farm.cli.runs import STATES as RUN_STATES

    assert set(views.STATES) == {state.value for state in State} - {"failed"}
    assert list(RUN_STATES) == [state.value for state in RunState]
    assert "timeout" in [reason.value for reason in Reason]


def imported(*args: str) -> set[str]:
    """Top modules that a command imports."""
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "farm.cli", *args],
        capture_output=True,
        text=True,
        cwd=PROJECT,
    )
    return {
        line.rpartition("|")[2].strip() for line in ran.stderr.splitlines() if line.startswith("import time:")
    }


@pytest.mark.parametrize(
    "args", [["--help"], ["status"], ["status", "--format", "json"], ["jobs", "list", "--format", "json"]]
)
def test_fast_commands_import_nothing_heavy(home: Path, args: list[str]) -> None:
    home.mkdir()
    modules = imported("--home", str(home), *args)
    assert "click" in modules
    heavy = {"rich", "pydantic", "msgspec", "psutil", "huey", "apscheduler", "watchdog", "pebble", "tomlkit"}
    assert not heavy & modules
    assert "farm.settings" not in modules


def cpu_s(*args: str) -> float:
    """What such a Python process spends at least, of several: what else the machine does adds to the others."""
    spent = []
    for _ in range(5):
        ran = subprocess.Popen([sys.executable, *args], stdout=subprocess.DEVNULL, cwd=PROJECT)
        _, status, usage = os.wait4(ran.pid, 0)
        ran.returncode = os.waitstatus_to_exitcode(status)
        assert ran.returncode == 0
        spent.append(usage.ru_utime + usage.ru_stime)
    return min(spent)


def test_help_and_status_cost_little_more_than_the_import_of_click(home: Path, jobs: object) -> None:
    click = cpu_s("-c", "import click")
    assert cpu_s("-m", "farm.cli", "--help") < 2.5 * click
    assert cpu_s("-m", "farm.cli", "--home", str(home), "status") < 3.5 * click


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(farm: Farm, shell: str) -> None:
    ran = farm("completion", shell)
    assert ran.code == 0
    assert f"_FARM_COMPLETE={shell}_complete" in ran.out


def test_completion_knows_commands_and_sources(home: Path, jobs: object) -> None:
    def complete(*words: str) -> list[str]:
        line = ["farm", "--home", str(home), *words]
        ran = subprocess.run(
            [sys.executable, "-c", "from farm.cli import main; main()"],
            env={**os.environ, "_FARM_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(line),
                 "COMP_CWORD": str(len(line) - 1)},
            capture_output=True, text=True, cwd=PROJECT,
        )  # fmt: skip
        return re.findall(r"^plain,(.*)$", ran.stdout, re.MULTILINE)

    assert complete("quar") == ["quarantine"]
    assert complete("sources", "pause", "no") == ["notes"]
