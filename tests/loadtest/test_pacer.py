"""When jobs arrive."""

import random
from itertools import islice, pairwise, takewhile

import pytest

from loadtest import pacer


def arrivals(paced, n):
    return list(islice(paced, n))


def per_second(paced, seconds):
    counts = [0] * seconds
    for at in takewhile(lambda at: at < seconds, paced):
        counts[int(at)] += 1
    return counts


def test_a_constant_rate_is_even():
    assert per_second(pacer.constant(rate=5), 3) == [5, 5, 5]


def test_a_burst_comes_at_once_and_again():
    assert arrivals(pacer.burst(size=3, every_s=2), 7) == [0, 0, 0, 2, 2, 2, 4]


def test_a_ramp_brings_the_integral_of_its_rate():
    counts = per_second(pacer.ramp(start_rate=0, end_rate=100, over_s=10), 12)
    assert sum(counts[:10]) == pytest.approx(500, abs=1)
    assert counts[:10] == sorted(counts[:10])
    assert counts[10:] == [pytest.approx(100, abs=1)] * 2


def test_a_ramp_down_to_nothing_ends():
    assert len(list(pacer.ramp(start_rate=10, end_rate=0, over_s=2))) == 10


def test_a_sine_swings_around_its_mean():
    counts = per_second(pacer.sine(mean_rate=100, amplitude=0.8, period_s=8), 16)
    assert sum(counts) == pytest.approx(1600, abs=2)
    assert max(counts) > 170
    assert min(counts) < 30


def test_poisson_has_its_rate_and_its_spread():
    gaps = arrivals(pacer.poisson(rate=50, chance=random.Random(1)), 5001)
    gaps = [b - a for a, b in pairwise(gaps)]
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    assert mean == pytest.approx(1 / 50, rel=0.05)
    assert variance == pytest.approx(mean**2, rel=0.1)


@pytest.mark.parametrize(
    "paced",
    [
        pacer.constant(7),
        pacer.burst(4, 1),
        pacer.ramp(1, 9, 5),
        pacer.ramp(9, 1, 5),
        pacer.sine(20, 1.0, 3),
        pacer.poisson(9, random.Random(2)),
    ],
)
def test_time_never_runs_backwards(paced):
    moments = arrivals(paced, 200)
    assert moments == sorted(moments)
    assert moments[0] >= 0
