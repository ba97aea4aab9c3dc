"""Sources get their shares, whatever their demand; shown by simulation."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.core.admission import Budget
from farm.core.fairness import aged, cost_s, jain, joined, share
from farm.core.job import Priority
from farm.core.profile import MIB
from tests.core.simulation import Arrival, Simulation, Source, profile

BUDGET = Budget(cpu=4.0, memory_bytes=4000 * MIB, cells=4)


def backlog(name: str, jobs: int = 20_000) -> Arrival:
    return Arrival(0.0, name, jobs)


def shares(simulation: Simulation) -> dict[str, float]:
    used_s = simulation.used_s()
    return {name: used / sum(used_s.values()) for name, used in used_s.items()}


def test_equal_weights_and_unequal_demand_give_equal_resource_time() -> None:
    chance = random.Random(7)
    sources = [
        Source("short", profile(batch=8), wall_s=lambda _: 0.05, expected_s=0.05),
        Source("long", wall_s=lambda _: 9.0, expected_s=9.0),
        Source("misjudged", wall_s=lambda _: 4.0, expected_s=0.2),
        Source("uneven", wall_s=lambda _: chance.paretovariate(1.5) * 0.3, expected_s=0.5),
        Source("many", wall_s=lambda _: 1.0),
    ]
    demand = [
        backlog("short"),
        backlog("long", 200),
        backlog("misjudged", 400),
        backlog("uneven"),
        backlog("many", 3000),
    ]
    simulation = Simulation(BUDGET, sources, demand)
    simulation.run(600.0)
    assert jain(simulation.used_s().values()) >= 0.95, shares(simulation)
    assert simulation.busy_s >= 0.99 * 600.0 * BUDGET.cells


def test_jobs_of_unequal_size_give_equal_resource_time() -> None:
    sources = [
        Source("small", profile(cpu=0.25, memory_mib=50), wall_s=lambda _: 1.0),
        Source("large", profile(cpu=1.0, memory_mib=1500), wall_s=lambda _: 3.0, expected_s=3.0),
        Source("wide", profile(cpu=2.0, memory_mib=100), wall_s=lambda _: 2.0, expected_s=2.0),
    ]
    simulation = Simulation(BUDGET, sources, [backlog(source.name, 4000) for source in sources])
    simulation.run(600.0)
    assert jain(simulation.used_s().values()) >= 0.95, shares(simulation)


@settings(max_examples=12, deadline=None)
@given(
    lengths=st.lists(st.floats(0.2, 8.0), min_size=2, max_size=5),
    misjudged=st.floats(0.1, 5.0),
    cells=st.integers(1, 6),
)
def test_jains_index_holds_for_jobs_of_any_length(lengths: list[float], misjudged: float, cells: int) -> None:
    sources = [
        Source(f"s{i}", wall_s=lambda _, s=length: s, expected_s=length * misjudged)  # type: ignore[misc]
        for i, length in enumerate(lengths)
    ]
    simulation = Simulation(
        Budget(cpu=cells, memory_bytes=4000 * MIB, cells=cells),
        sources,
        [backlog(s.name, 3000) for s in sources],
    )
    simulation.run(240.0)
    assert jain(simulation.used_s().values()) >= 0.95


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 3.0), (1.0, 2.0, 5.0), (0.5, 0.5, 4.0)])
def test_shares_follow_weights_within_five_percent(weights: tuple[float, ...]) -> None:
    sources = [
        Source(f"s{i}", wall_s=lambda _, i=i: 0.5 + i, weight=weight)  # type: ignore[misc]
        for i, weight in enumerate(weights)
    ]
    simulation = Simulation(BUDGET, sources, [backlog(source.name) for source in sources])
    simulation.run(900.0)
    for source, given_share in zip(sources, shares(simulation).values(), strict=True):
        assert given_share == pytest.approx(source.weight / sum(weights), rel=0.05)


def test_a_source_that_was_idle_saves_nothing_up() -> None:
    sources = [Source("steady"), Source("rested")]
    arrivals = [backlog("steady"), Arrival(500.0, "rested", 5000)]
    simulation = Simulation(BUDGET, sources, arrivals)
    simulation.run(500.0)
    before = simulation.used_s()
    simulation.run(600.0)
    steady, rested = (used - before[name] for name, used in simulation.used_s().items())
    assert steady == pytest.approx(rested, rel=0.1)


def test_a_source_that_was_served_alone_owes_nothing() -> None:
    sources = [Source("a"), Source("b"), Source("c", profile(limit=1))]
    arrivals = [backlog("a"), backlog("c"), Arrival(500.0, "b", 5000)]
    simulation = Simulation(BUDGET, sources, arrivals)
    simulation.run(500.0)
    before = simulation.used_s()
    simulation.run(700.0)
    a, b, c = (used - before[name] for name, used in simulation.used_s().items())
    assert a == pytest.approx(b, rel=0.1)
    assert c == pytest.approx(200.0 / BUDGET.cells, rel=0.05), "its own limit keeps it at one cell"


def test_light_demand_is_met_at_once_beside_heavy_demand() -> None:
    light = [Arrival(5.0 * i, "light", 1) for i in range(100)]
    simulation = Simulation(
        BUDGET, [Source("heavy"), Source("light", wall_s=lambda _: 0.5)], [backlog("heavy"), *light]
    )
    simulation.run(510.0)
    assert max(simulation.waits("light")) <= 1.0, "no longer than until one cell frees"


@given(cpu=st.floats(0, 100), memory=st.integers(0, 10**12), cells=st.integers(1, 32))
def test_a_dominant_share_is_a_share(cpu: float, memory: int, cells: int) -> None:
    assert 0 < share(cpu, memory, Budget(4.0, 4000 * MIB, cells)) <= 1


def test_a_launch_costs_its_largest_share() -> None:
    assert cost_s(10.0, 1.0, 100 * MIB, BUDGET) == pytest.approx(2.5)
    assert cost_s(10.0, 0.5, 3000 * MIB, BUDGET) == pytest.approx(7.5)
    assert cost_s(-1.0, 1.0, 1, BUDGET) == 0.0, "a clock that went back costs nothing"


@given(own=st.floats(0, 1e6), level=st.floats(0, 1e6))
def test_nobody_competes_from_behind_the_level(own: float, level: float) -> None:
    assert joined(own, level) == max(own, level)


@given(waited=st.floats(-10, 1e6), priority=st.sampled_from(Priority))
def test_ageing_only_raises_and_ends_at_high(waited: float, priority: Priority) -> None:
    assert priority <= aged(priority, waited) <= Priority.HIGH
    assert aged(priority, 60.0) is Priority.HIGH


def test_jains_index_of_nothing_is_one() -> None:
    assert jain([]) == 1.0
    assert jain([0.0, 0.0]) == 1.0
