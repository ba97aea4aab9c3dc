"""Schedules through the whole farm: what was missed is made up for once, and no run overlaps another."""

from __future__ import annotations

import signal
import sqlite3
import time
from itertools import pairwise
from pathlib import Path

from tests.support.farms import Farm, misbehaving
from tests.support.wait import until


def test_what_was_missed_while_down_is_made_up_for_once(tmp_path: Path) -> None:
    with Farm(tmp_path / "home", {"hourly": misbehaving("Noop", "a", every="1h")}) as farm:
        farm.start()
        until(lambda: farm.jobs().get("succeeded"), 20)
        farm.stop()
        with sqlite3.connect(farm.home / "ledger.db") as db:  # as if it had been down for ten hours
            db.execute(
                "UPDATE schedule SET last_fire_at = last_fire_at - 36000, next_fire_at = next_fire_at - 36000"
            )
            db.execute("UPDATE run SET trigger_key = 'long ago'")
        db.close()
        farm.start()
        until(lambda: len(farm.json("runs")) == 2, 20)
        until(lambda: farm.json("runs")[0]["state"] == "succeeded", 20)
        assert [run["trigger"] for run in farm.json("runs")] == ["catch_up", "every"]
        next_at = farm.ledger("SELECT next_fire_at FROM schedule")[0][0]
        assert time.time() < next_at <= time.time() + 3600


def test_a_source_has_one_run_at_a_time(tmp_path: Path) -> None:
    slow = misbehaving("Sleeps", *(f"good{i}" for i in range(6)), every="1s", options={"sleep_s": 0.5})
    with Farm(tmp_path / "home", {"slow": slow}) as farm:
        farm.start()
        until(lambda: len(farm.json("runs")) >= 3, 40, every_s=0.2)
        farm.stop()
        spans = farm.ledger("SELECT requested_at, finished_at FROM run ORDER BY id")
        assert all(later[0] >= earlier[1] for earlier, later in pairwise(spans))


def test_two_requests_at_once_are_one_run(tmp_path: Path) -> None:
    with Farm(tmp_path / "home", {"slow": misbehaving("Sleeps", "good", options={"sleep_s": 1.0})}) as farm:
        first = farm.cli("run", "slow", "--format", "json")
        second = farm.cli("run", "slow", "--format", "json")
        assert '"coalesced": false' in first.stdout
        assert '"coalesced": true' in second.stdout
        assert farm.drain() == 0
        assert len(farm.json("runs")) == 1


def test_an_edited_farm_toml_is_taken_on_while_the_farm_runs(tmp_path: Path) -> None:
    with Farm(tmp_path / "home", {"one": misbehaving("Noop", "a", every="1h")}) as farm:
        farm.start()
        until(lambda: farm.jobs().get("succeeded"), 20)
        farm.configure({"two": misbehaving("Noop", "b", every="1h")})
        assert farm.cli("reload").returncode == 0
        until(lambda: farm.ledger("SELECT 1 FROM run WHERE source = 'two'"), 20)
        farm.config.write_text("[sources.two]\nconnector = 'noop'\n")
        refused = farm.cli("reload")
        assert refused.returncode == 1
        assert "noop" in refused.stderr
        farm.configure({"three": misbehaving("Noop", "c", every="1h")})
        farm.signal(signal.SIGHUP)
        until(lambda: farm.ledger("SELECT 1 FROM run WHERE source = 'three'"), 20)


def test_a_paused_source_starts_nothing_until_it_is_resumed(tmp_path: Path) -> None:
    with Farm(tmp_path / "home", {"one": misbehaving("Noop", "a", every="1s")}) as farm:
        assert farm.cli("sources", "pause", "one").returncode == 0
        farm.start()
        refused = farm.cli("run", "one")
        assert refused.returncode == 1
        assert "paused" in refused.stderr
        assert farm.json("runs") == []
        assert farm.cli("sources", "resume", "one").returncode == 0
        until(lambda: farm.json("runs"), 20)
