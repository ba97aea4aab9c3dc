"""What `farm reload` changes in a running farm beside its sources."""

from __future__ import annotations

from pathlib import Path

from tests.support.farms import Farm, misbehaving
from tests.support.wait import until

LONG = {"timeout": "120s", "stall": "120s", "cpu": 0.1, "max_concurrent": 8}


def test_more_and_fewer_workers_need_no_restart(tmp_path: Path) -> None:
    sources = {"hang": misbehaving("Polite", *(f"bad{n}" for n in range(4)), profile=LONG)}
    with Farm(tmp_path / "home", sources, workers=1, cpu=2.0, grace="1s") as farm:
        farm.start()
        farm.call("run", source="hang")
        until(
            lambda: at_work(farm) == 1 and farm.jobs().get("pending"), 30, what="one job, and others waiting"
        )
        farm.configure(sources, workers=3, cpu=2.0, grace="1s")
        assert farm.cli("reload").returncode == 0
        until(lambda: at_work(farm) == 3, 30, what="three jobs at once")
        assert farm.call("status_live")["budget"]["cells"] == 3
        farm.configure(sources, workers=1, cpu=2.0, grace="1s")
        assert farm.cli("reload").returncode == 0
        farm.call("cancel_jobs", all=True)
        farm.until_jobs(running=0, pending=0)
        farm.call("run", source="hang")
        until(lambda: at_work(farm) == 1 and farm.jobs().get("pending"), 30, what="one job again")
        assert farm.stop() == 0


def at_work(farm: Farm) -> int:
    """How many workers read units."""
    running = "SELECT count(*) FROM job WHERE state = 'running' AND stage = 'extract'"
    held = farm.ledger(running)[0][0]
    cells = [cell for cell in farm.call("status_live")["cells"] if cell["launch_id"] is not None]
    return len(cells) if held else 0
