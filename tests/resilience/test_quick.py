"""The quick part: the faults of the long runs, fewer of them. `make resilience` makes the long ones."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.resilience import clocks, damage, deaths, kills, soak, starts
from tests.resilience.harness import Report, busy, quantile
from tests.resilience.scenarios import told


def fine(*reports: Report) -> Report:
    total = Report(reports[0].scenario)
    for report in reports:
        total.add(report)
    assert not total.problems, told(total)
    return total


@pytest.mark.timeout(240)
def test_fifty_kills_of_the_farm_lose_nothing_double_nothing_and_leave_nobody(tmp_path: Path) -> None:
    with ThreadPoolExecutor() as pool:
        report = fine(*pool.map(lambda seed: kills.run(seed, tmp_path, 14), range(3)))
    assert report.total >= 50
    assert max(report.figures["processes gone, s"]) <= 5
    assert quantile(report.figures["recovery, CPU seconds of the farm process"], 0.99) <= 5
    # Three farms at once, on a machine that may have others: what one alone would have taken.
    seconds = sorted(
        s for name, found in report.figures.items() if name.startswith(kills.RECOVERY) for s in found
    )
    assert quantile(seconds, 0.99) <= 5 * busy(), seconds[-5:]


@pytest.mark.timeout(300)
def test_deaths_of_workers_steps_of_the_clock_races_and_damage(tmp_path: Path) -> None:
    """Side by side: most of it waits."""
    jobs = [(deaths.run, 100), (clocks.run, 4), (starts.run, 50), (damage.run, 12)]
    with ThreadPoolExecutor() as pool:
        died, *others = pool.map(lambda job: fine(job[0](0, tmp_path, job[1])), jobs)
    assert died.faults.total() >= 100
    writing = sum(n for fault, n in died.faults.items() if "while the result is written" in fault)
    assert writing >= died.faults.total() / 5, died.faults
    assert all(report.faults for report in others)


@pytest.mark.timeout(120)
def test_a_short_soak_gives_everything_back(tmp_path: Path) -> None:
    fine(soak.run(0, tmp_path, 6, every_s=1.0))
