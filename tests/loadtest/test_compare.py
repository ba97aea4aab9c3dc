"""The comparison: its arithmetic, its one line for each peer and work, and a tiny one through the command."""

from __future__ import annotations

import doctest
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from loadtest.compare import NOOP, REAL, Plan, per_document, rate, ratio, summary
from loadtest.compare import compare as run
from loadtest.show_compare import lines

ROOT = Path(__file__).resolve().parents[2]


def found(noop: dict[str, Any], real: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        NOOP: summary(noop, dict.fromkeys(("work", "through", "cpu_us", "enqueue"), rate)),
        REAL: summary(real, dict.fromkeys(("wall_s", "cpu_s"), per_document)),
        "left_out": {},
        "floor": None,
        **more,
    }


def test_a_ratio_is_of_the_medians_and_its_spread_of_the_turns() -> None:
    assert ratio([10.0, 30.0, 20.0], [10.0, 10.0, 5.0]) == {"median": 2.0, "least": 1.0, "most": 4.0}


def test_a_peer_that_failed_in_its_second_turn_is_compared_by_its_first() -> None:
    assert ratio([10.0, 30.0], [5.0]) == {"median": 4.0, "least": 2.0, "most": 2.0}


def test_one_line_for_each_peer_and_work() -> None:
    noop = {
        "farm": [{"work": 8.0, "through": 4.0, "cpu_us": 9.0, "enqueue": 9.0}],
        "huey": [{"work": 2.0, "through": 2.0, "cpu_us": 18.0}],
    }
    real = {
        "farm": [{"wall_s": 2.2, "cpu_s": 4.0, "documents": 100}],
        "pebble": [{"wall_s": 2.0, "cpu_s": 4.0, "documents": 100}],
        "rq": [{"wall_s": 4.4, "cpu_s": 4.0, "documents": 10}],
    }
    said = lines(
        found(noop, real, floor="pebble", left_out={"celery": "the package celery is not installed"})
    )
    assert [line.partition("  (")[0] for line in said] == [
        "farm vs huey (no-op): 4.00x",
        "farm vs pebble (real): 1.10x the time",
        "farm vs rq (real): 0.05x the time",
        "farm vs floor (real): 1.10x the time",
        "farm vs celery: not compared, the package celery is not installed",
    ]
    assert "with enqueueing 2.00x; 0.50x the CPU" in said[0]
    assert said[3].endswith(", which is pebble")


def test_a_pool_has_no_rate_of_enqueueing() -> None:
    noop = {
        "farm": [{"work": 8.0, "through": 4.0, "cpu_us": 9.0, "enqueue": 9.0}],
        "pebble": [{"work": 80.0, "through": 80.0, "cpu_us": 1.0}],
    }
    ratios = found(noop, {})[NOOP]["ratios"]["pebble"]
    assert ratios.keys() == {"work", "through", "cpu_us"}
    assert ratios["work"]["median"] == pytest.approx(0.1)


def compare(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "loadtest",
            "compare",
            "--out",
            str(tmp_path),
            "--repetitions",
            "1",
            *arguments,
        ],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_a_tiny_comparison_ends_in_a_file_and_a_line_for_each(tmp_path: Path) -> None:
    done = compare(
        tmp_path,
        "--peers",
        "farm,huey,multiprocessing",
        "--jobs",
        "400",
        "--documents",
        "20",
        "--workers",
        "1",
    )
    assert done.returncode == 0, done.stderr
    for line in (
        "farm vs huey (no-op): ",
        "farm vs multiprocessing (no-op): ",
        "farm vs huey (real): ",
        "farm vs floor (real): ",
    ):
        assert done.stdout.count(line) == 1, done.stdout
    assert "a task is deleted when it is taken" in done.stdout
    written = json.loads((tmp_path / "compare.json").read_text())
    assert written["left_out"] == {}
    assert written["floor"] == "multiprocessing"
    assert len(written[REAL]["turns"]["huey"]) == 1
    assert written["busy_before_cores"]
    assert "multiprocessing" in (tmp_path / "compare.html").read_text()


def test_a_peer_that_cannot_run_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    nowhere = tmp_path / "bin"
    nowhere.mkdir()
    done = compare(
        tmp_path, "--peers", "rq,multiprocessing", "--works", "no-op", "--jobs", "300", PATH=str(nowhere)
    )
    assert done.returncode == 1, done.stderr
    assert "farm vs rq: not compared, the program redis-server is not installed" in done.stdout
    assert "farm vs multiprocessing (no-op): " in done.stdout


def test_a_peer_nobody_knows_is_refused(tmp_path: Path) -> None:
    done = compare(tmp_path, "--peers", "sidekiq")
    assert done.returncode == 2
    assert "no such peer: sidekiq" in done.stderr


@pytest.mark.parametrize("name", ["loadtest.compare", "loadtest.show_compare", "loadtest.figures"])
def test_the_examples_in_the_documentation_are_right(name: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert failed == 0
    assert tried


def test_time_that_is_up_ends_a_comparison_after_its_first_repetition() -> None:
    found = run(
        Plan(names=("farm", "multiprocessing"), works=(NOOP,), jobs=100, repetitions=3, within_s=0.01)
    )
    assert found["repetitions"] == 1
    assert len(found[NOOP]["turns"]["multiprocessing"]) == 1
