"""The decision side keeps its promises whatever comes: thousands of small farms, each from a seed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from farm.dispatch import listings
from tests.resilience.many import play_on_all_cores
from tests.resilience.simulation import Simulation, simulate
from tests.resilience.stand_ins import Held, Odds

SEEDS = int(os.environ.get("FARM_SIMULATION_SEEDS", "2000"))


@pytest.mark.timeout(3600)
def test_the_decision_side_keeps_its_promises_from_every_seed() -> None:
    sums, broken = play_on_all_cores(range(SEEDS), simulate)
    assert not broken, "\n".join(broken[:10])
    assert sums["seeds"] == SEEDS
    assert sums["kills"] > SEEDS, "hardly a fault was injected"
    assert sums["attempts"] > 10 * SEEDS, "hardly anything was done"


def test_a_listing_that_lands_again_after_a_kill_is_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while its units became jobs, one at a time: it had landed, and was not yet settled."""
    monkeypatch.setattr(listings, "CHILDREN_AT_ONCE", 1)
    farm = Simulation(1, tmp_path)
    farm.odds = farm.cells.odds = Odds.none()
    (name, *_) = farm.world
    farm.contents.units[name] = {"gone": Held("1", fence=0)}
    farm.world[name].update(a="1", b="1", c="1")
    farm.tick([farm.ask("run", source=name)])
    while not farm.disk.execute("SELECT 1 FROM job WHERE stage = 'extract'").fetchone():
        farm.tick([])
        farm.pass_time()
    assert farm.disk.execute("SELECT state FROM job WHERE stage = 'discover'").fetchall() == [("running",)]
    farm.die()
    farm.calm_down()
    assert farm.disk.execute("SELECT sum(documents_deleted), sum(documents_new) FROM run").fetchone() == (
        1,
        3,
    )


def test_a_machine_that_gives_no_cell_is_not_asked_without_end(tmp_path: Path) -> None:
    """Each time a lease and its return are written: an hour of that must not be an hour of writing."""
    farm = Simulation(1, tmp_path)
    farm.odds = farm.cells.odds = Odds(failure=0.0, death=0.0, no_cell=100.0)
    (name, *_) = farm.world
    farm.tick([farm.ask("submit", source=name, jobs=[{"key": "a"}])])
    while farm.time.awake_s < 3600:
        farm.tick([])
        farm.pass_time()
    (attempts,) = farm.disk.execute("SELECT count(*) FROM attempt").fetchone()
    assert 100 < attempts < 1000
    farm.calm_down()
