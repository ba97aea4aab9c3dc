"""When a job ran: from the time of day and the seconds that are written down of it."""

from __future__ import annotations

import time

from farm.workers.meter import Meter


def test_a_job_is_not_said_to_have_run_for_longer_than_it_did() -> None:
    """However long the worker is kept from running between a job's end and the next one's beginning."""
    meter = Meter()
    meter.begin(0)
    for _ in range(3):
        time.sleep(0.02)
        since = meter.started_at
        wall_s, _, _ = meter.lap()
        over_at = time.time()
        assert wall_s >= 0.02
        assert over_at - 0.015 < since + wall_s <= over_at + 1e-6
        assert meter.started_at <= over_at
