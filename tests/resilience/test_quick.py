"""The quick part: the faults of the long runs, fewer of them. `make resilience` makes the long ones."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.resilience import kills
from tests.resilience.harness import Report
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
        report = fine(*pool.map(lambda seed: kills.run(seed, tmp_path, 17), range(3)))
    assert report.faults.total() >= 50
    assert max(report.figures["processes gone, s"]) <= 5
    assert max(report.figures["recovery, s"]) <= 5, sorted(report.figures["recovery, s"])[-5:]
