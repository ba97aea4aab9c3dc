"""Memory: a cap for each tree, measured peaks, and a farm that does not grow."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from farm.core.job import Outcome
from farm.workers import proc
from tests.support.wait import until
from tests.workers.conftest import Bench, living, noted

MiB = 1 << 20


@pytest.mark.parametrize("way", ["", "child", "mapped"])
def test_a_job_over_its_cap_is_out_of_memory_with_its_peak(bench: Bench, tmp_path: Path, way: str) -> None:
    """On its own heap it meets MemoryError; in a child, or in shared memory, the watch ends the tree."""
    pids = tmp_path / "pids"
    neighbour = bench.launch("Sleeps", "n", sleep_s=0.5)
    found = bench.run("Leak", "good", "bad", way=way, memory_bytes=160 * MiB, pids=str(pids))
    ending = found["bad"]
    assert ending is not None
    assert ending.outcome is Outcome.OUT_OF_MEMORY, ending
    assert 100 * MiB < ending.usage.memory_peak_bytes < 400 * MiB
    assert found["good"] is not None and found["good"].usage.memory_peak_bytes < 100 * MiB
    assert bench.wait(neighbour).endings[0].outcome is Outcome.SUCCEEDED
    until(lambda: not living(noted(pids)), 2.0)


def test_each_job_has_its_own_peak(bench: Bench) -> None:
    found = bench.run("Leak", "good1", "bad", "good2", size=96 * MiB)
    peaks = [found[key].usage.memory_peak_bytes // MiB for key in found]  # type: ignore[union-attr]
    assert peaks[1] >= 100
    assert peaks[0] < peaks[1] - 80
    assert peaks[2] < peaks[1] - 80


def test_a_worker_that_stayed_fat_is_not_used_again(bench: Bench) -> None:
    found = bench.run("Hoards", "bad", size=120 * MiB, memory_bytes=200 * MiB)
    assert found["bad"] is not None and found["bad"].outcome is Outcome.SUCCEEDED
    fat = found["bad"].pid
    until(lambda: fat not in {f.pid for f in bench.pool.facts()}, 3.0)


def test_the_farm_itself_does_not_grow(bench: Bench) -> None:
    def resident() -> int:
        own = proc.stat(os.getpid())
        assert own is not None
        return own.rss_bytes

    def round_of_trouble() -> None:
        bench.run("Leak", "bad", memory_bytes=128 * MiB)
        bench.run("Liar", "bad", size=80 * MiB)
        bench.run("Flood", "bad", way="output", sleep_s=0.1)
        bench.run("Crash", "bad")
        bench.run("Noop", *map(str, range(500)))

    for _ in range(2):
        round_of_trouble()
    before = resident()
    for _ in range(3):
        round_of_trouble()
    assert resident() - before < 8 * MiB
