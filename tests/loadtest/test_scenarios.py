"""Each scenario in a tiny form: a real farm, a record, and the figures that its goals speak of."""

import random
import socket
import sqlite3
import subprocess
import threading
import time
from contextlib import closing

import pytest

from loadtest import report, scenario, sleeper
from loadtest.drive import drive
from loadtest.page import page
from loadtest.record import Record, read
from loadtest.scenario import Kill, Scenario, SlowStore
from loadtest.slow_store import held
from loadtest.witness import Witness

# Of each source, how many jobs; and what else is smaller.
TINY = {
    "crash": ({"crashing": 20, "steady": 40}, {}),
    "events": ({"burst": 20, "single": 3}, {}),
    "hang": ({"hanging": 10, "steady": 200}, {}),
    "hour": ({"constant": 40}, {"run_s": 1.5}),
    "inversion": ({"urgent": 2, "usual": 20, "later": 60}, {"run_s": 2.0}),
    "kill": ({"flying": 300}, {"kill": {"in_flight": 100, "times": 2}}),
    "memory": ({"growing": 4, "glutton": 1, "steady": 20}, {}),
    "mixed": ({"files": 20}, {}),
    "neighbour": ({"flood": 500, "drop": 2, "drip": 2, "gulp": 10}, {"run_s": 2.0}),
    "retry": ({"failing": 50}, {}),
    "slow_store": ({"documents": 100, "plain": 10}, {}),
}
LONG_ONLY = {"growth.memory_percent", "growth.start_percent", "cells.busy"}
"""Figures that a run of a second or two has not got."""


def tiny(name):
    """The scenario with fewer jobs and shorter rests."""
    asked = scenario.load(name).model_dump(exclude_unset=True)
    counts, changes = TINY[name]
    for source in asked["sources"]:
        source["arrival"]["count"] = counts[source["name"]]
        source["arrival"].pop("start_s", None)
        if source["arrival"].get("size"):
            source["arrival"] |= {"size": max(1, counts[source["name"]] // 2), "every_s": 1.0}
        if source.get("retry", {}).get("base"):
            source["retry"]["base"] = "2s" if name == "retry" else "300ms"
        if source.get("warm"):
            source["warm"] = 2_000
        if name == "hang" and source["name"] == "hanging":
            source["faults"]["hang"] = 0.3
    return Scenario.model_validate({**asked, **changes, "most_s": 40})


def test_every_scenario_has_a_tiny_form_or_a_test_of_its_own():
    assert set(scenario.names()) == {
        *TINY,
        "noop",
        "idle",
        "deep",
        "landing",
        "budget",
        "fairness",
        "weights",
        "priority",
    }


@pytest.mark.parametrize("name", TINY)
def test_a_scenario_runs_and_measures_what_its_goals_speak_of(name, tmp_path):
    asked = tiny(name)
    record = Record.of(read(drive(asked, tmp_path / "tiny.jsonl")))
    built = report.build(record)
    measured = {goal["figure"] for goal in built["goals"] if goal["value"] is not None}
    assert {goal.figure for goal in asked.goals} - measured <= LONG_ONLY
    met = {goal["figure"]: goal["met"] for goal in built["goals"]}
    for figure in ("budget.exceeded", "documents.missing", "files.missing", "jobs.open"):
        assert met.get(figure, True), figure
    assert built["figures"]["machine.late_ms"]["n"] > 10
    assert "data-plot=0" in page(record, built)


def test_long_scenarios_run_only_when_they_are_named():
    long = [name for name in scenario.names() if scenario.load(name).takes_s > 1800]
    assert long == ["hour"]
    assert scenario.load("hour").named_only
    assert Kill(in_flight=5).times == 1


def test_the_witness_tells_when_the_last_process_of_a_tree_is_gone(tmp_path):
    told, heard = [], threading.Event()

    def hear(key, at):
        told.append((key, at))
        heard.set()

    with Witness(tmp_path / "witness", hear), socket.socket(socket.AF_UNIX) as line:
        line.connect(str(tmp_path / "witness"))
        line.sendall(b"unit-7\n")
        child = subprocess.Popen(["sleep", "60"], pass_fds=[line.fileno()], start_new_session=True)
        line.close()
        assert not heard.wait(0.2)
        killed = time.time()
        child.kill()
        child.wait()
        assert heard.wait(5)
    assert told[0][0] == "unit-7"
    assert 0 <= told[0][1] - killed < 1


def test_a_slow_store_keeps_writers_waiting_and_writes_nothing(tmp_path):
    with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None, timeout=10)) as store:
        store.execute("CREATE TABLE note (text TEXT)")
        waited = []
        with held(SlowStore(held_s=0.2, every_s=0.25), tmp_path):
            for _ in range(4):
                began = time.monotonic()
                store.execute("INSERT INTO note VALUES ('x')")
                waited.append(time.monotonic() - began)
                time.sleep(0.1)
        assert max(waited) > 0.05
        assert store.execute("SELECT count(*) FROM note").fetchone() == (4,)


def test_a_sleeper_tells_how_late_it_woke():
    with sleeper.sleepers() as delays:
        time.sleep(0.3)
    assert set(delays) == set(sleeper.NICE)
    assert all(values and min(values) >= 0 for values in delays.values())


def test_of_many_delays_a_fair_sample_is_kept():
    kept, chance = [], random.Random(1)
    for n in range(4 * sleeper.MOST):
        sleeper.keep(kept, float(n), n, chance)
    assert len(kept) == sleeper.MOST
    assert sum(kept) / len(kept) == pytest.approx(2 * sleeper.MOST, rel=0.05)
