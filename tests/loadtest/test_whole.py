"""The whole pipeline on a tiny scenario: a real farm, a record, a report."""

import json

import pytest

from loadtest import record, report, scenario
from loadtest.drive import drive
from loadtest.record import Record
from loadtest.scenario import Scenario
from loadtest.show import show

TINY = {
    "name": "tiny",
    "farm": {"workers": 2, "cpu": 2, "memory": "400MB"},
    "most_s": 60,
    "sources": [
        {
            "name": "many",
            "preload": True,
            "arrival": {"count": 1_500},
            "profile": {"cpu": 0.1, "memory": "64MB", "batch": 256},
        },
        {
            "name": "few",
            "arrival": {"pacer": "constant", "rate": 20, "count": 20},
            "job": {
                "wall_s": {"kind": "uniform", "low": 0.001, "high": 0.01},
                "document_bytes": {"value": 500},
            },
            "profile": {"cpu": 1.0, "memory": "64MB"},
        },
        {
            "name": "faulty",
            "arrival": {"count": 3},
            "faults": {"invalid": 1.0},
            "profile": {"cpu": 0.5, "memory": "64MB"},
        },
    ],
    "goals": [{"figure": "budget.exceeded", "at_most": 0}, {"figure": "no.such", "at_least": 1}],
}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    return drive(Scenario.model_validate(TINY), tmp_path_factory.mktemp("tiny") / "tiny.jsonl")


def test_a_tiny_scenario_ends_in_a_report(recorded):
    built = report.build(Record.of(record.read(recorded)))
    assert built["throughput"]["succeeded"] == 1_520
    assert built["outcomes"] == {"succeeded": 1_520, "invalid_input": 3}
    assert built["states"] == {"succeeded": 1_520, "quarantined": 3}
    assert {s["name"]: s["begun"] for s in built["sources"]} == {"many": 1_500, "few": 20, "faulty": 3}
    assert built["latency"]["start_ms"]["n"] == 20
    assert built["latency"]["start_ms"]["least"] > 0
    assert not built["budget"]["exceeded"]
    assert [goal["met"] for goal in built["goals"]] == [True, False]


def test_a_record_can_be_reported_again_and_is_the_same(recorded):
    once, again = (report.build(Record.of(record.read(recorded))) for _ in range(2))
    assert json.dumps(once) == json.dumps(again)


def test_a_record_that_was_cut_off_can_still_be_read(recorded, tmp_path):
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(recorded.read_bytes()[:-7])
    assert len(list(record.read(cut))) == len(list(record.read(recorded))) - 1


def test_the_report_can_be_printed(recorded, capsys):
    from rich.console import Console

    show(report.build(Record.of(record.read(recorded))), Console(width=120))
    printed = capsys.readouterr().out
    assert "1,520 succeeded" in printed
    assert "budget    kept" in printed
    assert "not met" in printed


@pytest.mark.parametrize("name", scenario.names())
def test_every_scenario_can_be_read(name):
    loaded = scenario.load(name)
    assert loaded.name == name
    assert loaded.about
    assert loaded.takes_s > 0
    for source in loaded.sources:
        at, job = next(source.jobs(loaded.seed))
        assert at >= 0
        assert job["key"]


def test_the_same_seed_asks_for_the_same_jobs():
    source = scenario.load("budget").sources[0]
    first, again, other = ([job for _, job in source.jobs(seed)] for seed in ("1", "1", "2"))
    assert first == again != other
