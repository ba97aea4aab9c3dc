"""Reservations follow measurements, within what was declared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.core.profile import (
    ENOUGH,
    FIRST_GUESS_S,
    LAUNCH_S,
    LEAST_CPU,
    MIB,
    Profile,
    Reservation,
    Sample,
    batch_size,
    quantile,
    raised,
    reserve,
)

PROFILE = Profile(cpu=1.0, memory_bytes=800 * MIB, memory_max_bytes=1600 * MIB, batch=64)


def used(memory_mib: int, wall_s: float = 1.0, cpu_s: float = 0.5) -> Sample:
    return Sample(wall_s, cpu_s, memory_mib * MIB)


def test_without_samples_the_declared_figures_stand() -> None:
    assert reserve(PROFILE, ()) == Reservation(800 * MIB, 1.0, FIRST_GUESS_S)


def test_few_samples_tell_how_long_but_not_how_much() -> None:
    found = reserve(PROFILE, [used(10, wall_s=0.2)] * (ENOUGH - 1))
    assert (found.memory_bytes, found.cpu) == (800 * MIB, 1.0)
    assert found.wall_s == pytest.approx(0.2)


def test_measured_peaks_and_a_quarter_on_top_are_reserved() -> None:
    assert reserve(PROFILE, [used(200)] * ENOUGH) == Reservation(250 * MIB, 0.5, 1.0)


def test_one_outlier_among_many_does_not_count() -> None:
    samples = [used(200)] * 199 + [used(5000, wall_s=900.0, cpu_s=900.0)]
    found = reserve(PROFILE, samples)
    assert (found.memory_bytes, found.cpu) == (250 * MIB, 0.5)
    assert found.wall_s == pytest.approx(1.0)


def test_a_tenth_of_large_ones_does_count() -> None:
    found = reserve(PROFILE, [used(200, wall_s=0.01)] * 90 + [used(640, wall_s=1.0)] * 10)
    assert found.memory_bytes == 800 * MIB
    assert found.wall_s == pytest.approx(0.109)


@pytest.mark.parametrize(
    ("peak_mib", "reserved_mib"), [(1, 100), (100, 125), (700, 875), (5000, 1600)], ids=str
)
def test_the_reservation_stays_within_its_bounds(peak_mib: int, reserved_mib: int) -> None:
    assert reserve(PROFILE, [used(peak_mib)] * 50).memory_bytes == reserved_mib * MIB


@pytest.mark.parametrize(("cpu_s", "cores"), [(0.0, LEAST_CPU), (0.3, 0.3), (8.0, 1.0)])
def test_cores_follow_what_was_busy_up_to_what_was_declared(cpu_s: float, cores: float) -> None:
    assert reserve(PROFILE, [used(100, cpu_s=cpu_s)] * 50).cpu == pytest.approx(cores)


samples = st.builds(
    Sample,
    wall_s=st.floats(0, 1e5),
    cpu_s=st.floats(0, 1e5),
    memory_peak_bytes=st.integers(0, 2**40),
)


@given(st.lists(samples, max_size=60))
def test_no_samples_lead_out_of_bounds(measured: list[Sample]) -> None:
    found = reserve(PROFILE, measured)
    assert PROFILE.memory_bytes // 8 <= found.memory_bytes <= PROFILE.memory_max_bytes
    assert LEAST_CPU <= found.cpu <= PROFILE.cpu
    assert found.wall_s >= 0


@given(st.lists(samples, min_size=1, max_size=60))
def test_the_order_of_samples_does_not_matter(measured: list[Sample]) -> None:
    ordered = sorted(measured, key=lambda sample: (sample.memory_peak_bytes, sample.cpu_s))
    first, second = reserve(PROFILE, measured), reserve(PROFILE, ordered)
    assert (first.memory_bytes, first.cpu) == (second.memory_bytes, second.cpu)
    assert first.wall_s == pytest.approx(second.wall_s)


@pytest.mark.parametrize(
    ("current", "peak", "after"),
    [(800, 800, 1200), (800, 900, 1350), (1200, 1200, 1600), (1600, 1600, 1600), (2000, 2000, 2000)],
)
def test_after_out_of_memory_the_next_attempt_reserves_more(current: int, peak: int, after: int) -> None:
    assert raised(PROFILE, current * MIB, peak * MIB) == after * MIB


@given(current=st.integers(0, 2**42), peak=st.integers(0, 2**42))
def test_raising_never_lowers_and_ends_at_the_most(current: int, peak: int) -> None:
    assert current <= raised(PROFILE, current, peak) <= max(current, PROFILE.memory_max_bytes)


@given(
    wall_s=st.floats(0, 1e4),
    ready=st.integers(1, 10**6),
    cells=st.integers(0, 64),
    batch=st.integers(1, 256),
)
def test_a_launch_is_never_empty_never_too_long_and_leaves_work(
    wall_s: float, ready: int, cells: int, batch: int
) -> None:
    n = batch_size(Profile(batch=batch), Reservation(MIB, 1.0, wall_s), ready, cells)
    assert 1 <= n <= batch
    assert n == 1 or n * wall_s <= LAUNCH_S * 1.001
    assert n == 1 or (n - 1) * max(cells, 1) < ready


@given(st.lists(st.floats(0, 1e9), min_size=1), st.floats(0.01, 1))
def test_a_quantile_is_one_of_the_values_and_not_below_its_share(values: list[float], q: float) -> None:
    found = quantile(values, q)
    assert found in values
    assert sum(value <= found for value in values) >= q * len(values) - 1e-9
