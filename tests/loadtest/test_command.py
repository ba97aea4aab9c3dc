"""`python -m loadtest` asked wrongly: one sentence, exit 1, and no traceback."""

import json
import subprocess
import sys

import pytest

from loadtest import report
from loadtest.show import console, show
from tests.loadtest.events import attempt, job, phases, record, sample


def loadtest(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "loadtest", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=cwd,
    )


def refused(*arguments):
    asked = loadtest(*arguments)
    assert asked.returncode == 1
    assert asked.stdout == ""
    sentence = asked.stderr.removesuffix("\n")
    assert "\n" not in sentence
    return sentence


def test_bare_it_prints_its_help_and_measures_nothing():
    asked = loadtest()
    assert asked.returncode == 0
    assert asked.stdout.startswith("Usage: ")
    assert all(command in asked.stdout for command in ("run", "report", "list", "compare"))


def test_a_scenario_with_a_slip_in_its_name():
    assert refused("run", "hagn") == "Error: there is no scenario 'hagn'; did you mean hang?"


def test_a_scenario_like_none():
    assert "python -m loadtest list" in refused("run", "qqqqq")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("name = ", "is not TOML"),
        ('name = "a"\nfaults = 1', "is not a scenario: faults: Extra inputs are not permitted"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_scenario_file_that_is_none(tmp_path, text, why):
    path = tmp_path / "own.toml"
    if text is not None:
        path.write_text(text)
    assert f"{path} {why}" in refused("run", path)


@pytest.mark.parametrize("text", ["# The farm\n", '{"no": "type"}\n', "", "\udcff\n"])
def test_what_is_no_record_cannot_be_reported(tmp_path, text):
    path = tmp_path / "README.md"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert f"{path} is not a record" in refused("report", path)


def test_a_report_is_not_a_record_and_the_record_is_named(tmp_path):
    path = tmp_path / "noop.json"
    path.write_text(json.dumps(report.build(missed())))
    assert f"{path} is a report, not a record: give {tmp_path / 'noop.jsonl'}" in refused("report", path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "nothing"])
def test_json_that_is_no_comparison(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    assert str(path) in refused("report", path)


def test_a_folder_is_not_a_record(tmp_path):
    assert f"{tmp_path} cannot be read: Is a directory" in refused("report", tmp_path)


def missed():
    events = [*phases(0.0, 2.0), job(1), attempt(1, 1, 0.0), sample(0.0), sample(1.0)]
    return record(*events, goals=[{"figure": "throughput.per_s", "at_least": 12_000, "at_most": None}])


def test_a_goal_that_is_not_met_says_whose_it_is_and_how_busy_the_machine_was(capsys):
    show(report.build(missed()), console())
    printed = " ".join(capsys.readouterr().out.split())
    assert "not met throughput.per_s" in printed
    assert "goal of this scenario file, on a quiet machine with 2 cores" in printed
    assert "other programs took 0.60 of its 2 cores, and the load was 0.5 before" in printed


def test_goals_that_are_met_need_no_such_words():
    events = [*phases(0.0, 2.0), job(1), attempt(1, 1, 0.0)]
    goals = [{"figure": "throughput.per_s", "at_least": 0.0, "at_most": None}]
    assert report.whose_goals(report.build(record(*events, goals=goals))) == ""
