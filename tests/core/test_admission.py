"""What runs never takes more than the budget, and every refusal is true."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.core.admission import Budget, Demand, Held, HoldReason, admit, fits, sentence, size

BUDGET = Budget(cpu=4.0, memory_bytes=1000, cells=8)

demands = st.builds(
    Demand,
    source=st.sampled_from("abc"),
    connector=st.sampled_from("xy"),
    cpu=st.floats(0.05, 10),
    memory_bytes=st.integers(0, 1500),
    source_limit=st.integers(1, 4),
    connector_limit=st.integers(1, 6),
)


@given(st.lists(demands, max_size=60))
def test_whatever_is_asked_for_the_sum_of_what_runs_stays_within_the_budget(asked: list[Demand]) -> None:
    held = Held()
    running: list[Demand] = []
    for demand in asked:
        reason = admit(demand, held, BUDGET)
        if reason is None:
            running.append(demand)
            held = held.plus(_clipped(demand))
        else:
            assert sentence(reason, demand, held, BUDGET)
    assert len(running) <= BUDGET.cells
    assert sum(demand.memory_bytes for demand in running) <= BUDGET.memory_bytes
    assert sum(_clipped(demand).cpu for demand in running) <= BUDGET.cpu + 1e-6
    assert held == Held.of((d.source, d.connector, _clipped(d).cpu, d.memory_bytes) for d in running)


def _clipped(demand: Demand) -> Demand:
    return Demand(
        demand.source,
        demand.connector,
        min(demand.cpu, BUDGET.cpu),
        demand.memory_bytes,
        demand.source_limit,
        demand.connector_limit,
    )


@given(demand=demands)
def test_on_an_idle_machine_only_what_is_too_big_is_refused(demand: Demand) -> None:
    expected = HoldReason.TOO_BIG if demand.memory_bytes > BUDGET.memory_bytes else None
    assert admit(demand, Held(), BUDGET) is expected


@given(demand=demands, other=demands)
def test_what_fits_beside_more_fits_beside_less(demand: Demand, other: Demand) -> None:
    held = Held().plus(other)
    assert not fits(demand, held, BUDGET) or fits(demand, Held(), BUDGET)


def test_tenths_of_cores_add_up() -> None:
    demand = Demand("a", "x", 0.1, 0, 99, 99)
    held = Held()
    for _ in range(3):
        assert admit(demand, held, Budget(cpu=0.3, memory_bytes=0, cells=9)) is None
        held = held.plus(demand)
    assert admit(demand, held, Budget(cpu=0.3, memory_bytes=0, cells=9)) is HoldReason.CPU


@pytest.mark.parametrize(
    ("n", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (999_600, "1.0 MB"),
        (12_345_678, "12 MB"),
        (4_000_000_000, "4.0 GB"),
        (64_000_000_000, "64 GB"),
    ],
)
def test_sizes_are_for_people(n: int, text: str) -> None:
    assert size(n) == text
