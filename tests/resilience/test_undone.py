"""A tick that found no room is undone in the ledger: what it had learned in memory is written by a later one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from farm.core.job import Outcome
from tests.resilience.simulation import Simulation
from tests.resilience.stand_ins import Odds


@pytest.fixture
def farm(tmp_path: Path) -> Simulation:
    found = Simulation(5, tmp_path)
    found.odds = found.cells.odds = Odds.none()
    return found


def no_room(on: Any, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next two transactions fail after this step of theirs, as on a full disk."""
    step: Callable[..., None] = getattr(on, method)
    left = [2]

    def full(*words: Any) -> None:
        step(*words)
        if left[0]:
            left[0] -= 1
            raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(on, method, full)


def rate_limited(farm: Simulation) -> str:
    """A job of this source is running and will be told to come back later."""
    name = next(iter(farm.settings))
    request = farm._submit(name)
    while not farm.cells.cells:
        farm.tick([request] if request else [])
        request = None  # type: ignore[assignment]
        farm.pass_time()
    cell = next(iter(farm.cells.cells.values()))
    for act in cell.acts:
        act.outcome = Outcome.RATE_LIMITED
    farm.time.pass_by(max(act.ends for act in cell.acts) - farm.time.steady_s + 1.0)
    return cell.launch.source


def test_a_breaker_that_opened_is_kept_though_its_tick_was_undone(
    farm: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = rate_limited(farm)
    no_room(farm.dispatcher.settler, "failed", monkeypatch)
    farm.tick([])
    assert farm.sources[name].fuse.until is not None
    assert farm.dispatcher.starved
    farm.time.pass_by(1.0)
    farm.tick([])
    assert not farm.dispatcher.starved
    farm.watchman.look(farm)
    kept = farm.disk.execute("SELECT until FROM fuse WHERE source = ?", (name,)).fetchone()
    assert kept == (farm.sources[name].fuse.until,)


def test_a_clock_set_back_is_told_the_ledger_though_the_tick_was_undone(
    farm: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate_limited(farm)
    farm.tick([])
    before = farm.time.wall_s
    farm.time.step(-10 * 365 * 86_400.0)
    no_room(farm.ledger.tickets, "set_back", monkeypatch)
    farm.tick([])
    assert farm.dispatcher.starved
    assert farm.disk.execute("SELECT max(due_at) FROM task").fetchone()[0] > before
    farm.time.pass_by(1.0)
    farm.tick([])
    assert not farm.dispatcher.starved
    assert farm.disk.execute("SELECT max(due_at) FROM task").fetchone()[0] < farm.time.wall_s + 86_400.0
