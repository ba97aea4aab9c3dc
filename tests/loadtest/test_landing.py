"""Landing and searching at once, in a tiny form: a real landing thread, a real searcher, and their figures."""

from __future__ import annotations

import pytest

from loadtest import report, scenario
from loadtest.drive import drive
from loadtest.page import page
from loadtest.record import Record, read
from loadtest.scenario import Scenario
from loadtest.searcher import KINDS

TINY = {"held": 700, "documents": 600, "document_bytes": 2_000, "rounds": 2, "searches_per_s": 200.0}


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    asked = scenario.load("landing").model_dump(exclude_unset=True)
    tiny = Scenario.model_validate({**asked, "probes": {"landing": TINY}})
    return Record.of(read(drive(tiny, tmp_path_factory.mktemp("landing") / "landing.jsonl")))


def test_every_goal_of_the_scenario_is_measured(record: Record) -> None:
    built = report.build(record)
    assert [goal["figure"] for goal in built["goals"] if goal["value"] is None] == []
    assert "landing" in page(record, built)


def test_the_figures_belong_together(record: Record) -> None:
    found = {event["name"]: event["values"] for event in record["figure"]}
    for name in ("alone", "searched"):
        wall, cpu = found[f"landing.{name}.mb_per_s"], found[f"landing.{name}.mb_per_cpu_s"]
        assert len(wall) == len(cpu) == TINY["rounds"]
        assert all(0 < by_clock <= by_cpu * 1.2 for by_clock, by_cpu in zip(wall, cpu, strict=True))
        assert all(1 < n <= TINY["documents"] for n in found[f"landing.{name}.documents_per_batch"])
    alone, searched = (
        report.build(record)["figures"][f"landing.{n}.mb_per_cpu_s"] for n in ("alone", "searched")
    )
    assert found["landing.searched.cpu_ratio"] == [
        pytest.approx(alone["median"] / searched["median"], rel=1e-3)
    ]
    for kind in KINDS:
        took, [p99] = found[f"search.{kind}.ms"], found[f"search.{kind}.p99_ms"]
        assert sorted(took)[len(took) // 2] <= p99 <= max(took)
        assert len(found[f"search.{kind}.cpu_ms"]) == len(took)
