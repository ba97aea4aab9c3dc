"""A source whose other side is away: left alone for longer and longer, tried for ever, and nobody else's matter."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.farms import Farm, misbehaving
from tests.support.wait import until

UNITS = tuple(f"bad-{i}" for i in range(12))
SOON = {"failures": 3, "cool": "400ms", "cool_max": "800ms"}
LATE = {"failures": 3, "cool": "1h", "cool_max": "1h"}
RETRY = {"class": "fast", "base": "50ms", "max": "100ms", "max_attempts": 4}


class Other:
    """The other side."""

    def __init__(self, folder: Path) -> None:
        self.asked_in = folder / "asked"
        self.sign = folder / "asked.down"

    def table(self, limits: dict[str, Any], *units: str, way: str = "", **more: Any) -> dict[str, Any]:
        options = {"pids": str(self.asked_in), "way": way, **more}
        return misbehaving("Away", *units, limits=limits, retry=RETRY, options=options)

    def go(self) -> None:
        self.sign.touch()

    def come_back(self) -> None:
        self.sign.unlink()

    @property
    def asked(self) -> list[float]:
        return [float(line) for line in self.asked_in.read_text().split()] if self.asked_in.exists() else []


@pytest.fixture
def other(tmp_path: Path) -> Other:
    return Other(tmp_path)


def breaker(farm: Farm) -> dict[str, Any]:
    row = next(row for row in farm.json("sources", "list") if row["name"] == "away")
    return {**row["breaker"], "next_try_at": row["next_try_at"], "state": row["state"]}


def opened(farm: Farm) -> bool:
    return bool(farm.ledger("SELECT 1 FROM fuse WHERE opened > 0"))


def test_an_outage_costs_no_job_and_the_neighbours_do_not_notice(tmp_path: Path, other: Other) -> None:
    sources = {"away": other.table(SOON, *UNITS), "well": misbehaving("Noop", "a", "b")}
    with Farm(tmp_path / "home", sources).start() as farm:
        farm.call("run", source="away")
        until(lambda: farm.jobs().get("succeeded") == len(UNITS) + 1, 60)
        other.go()
        farm.call("run", source="away", type="replay")
        until(lambda: farm.ledger("SELECT 1 FROM fuse WHERE opened > 3"), 60, what="tries in between")
        told = breaker(farm)
        assert told["state"] == "degraded"
        assert told["position"] in ("open", "half_open")
        assert told["message"] == "nobody answers at example.org"
        assert told["next_try_at"]
        farm.call("run", source="well")
        until(lambda: farm.ledger("SELECT 1 FROM job WHERE source = 'well' AND state = 'succeeded'"), 30)
        assert len(other.asked) < len(UNITS) + 1 + 3 + 4 + 6, "it is tried, not stormed"
        other.come_back()
        until(
            lambda: not farm.ledger("SELECT 1 FROM job WHERE state IN ('pending', 'running', 'retrying')"), 60
        )
        assert farm.jobs().keys() == {"succeeded"}
        assert breaker(farm) == {
            "position": "closed",
            "failures": 0,
            "message": "",
            "next_try_at": None,
            "state": "active",
        }
        assert max(row[0] for row in farm.ledger("SELECT attempts FROM job")) <= 4


def test_a_source_is_known_to_fail_before_its_breaker_opens(tmp_path: Path, other: Other) -> None:
    other.go()
    later = {"class": "fast", "base": "1h", "max": "1h"}
    with Farm(tmp_path / "home", {"away": {**other.table(LATE, "bad"), "retry": later}}).start() as farm:
        farm.call("run", source="away")
        until(lambda: farm.jobs() == {"retrying": 1}, 30)
        told = breaker(farm)
        assert (told["state"], told["position"], told["failures"]) == ("active", "closed", 1)
        assert told["next_try_at"]
        assert re.search(
            r"next try in \d+ min: nobody answers at example.org", farm.cli("sources", "list").stdout
        )


def test_a_source_is_known_to_fail_in_a_drain_which_has_no_breaker(tmp_path: Path, other: Other) -> None:
    other.go()
    later = {"class": "fast", "base": "1h", "max": "1h"}
    sources = {"away": {**other.table(LATE, "bad"), "retry": later}}
    with Farm(tmp_path / "home", sources).start(drain=True) as farm:
        told = "nobody answers at example.org"
        until(lambda: told in farm.cli("sources", "list").stdout, 30, every_s=0.2)
        assert breaker(farm)["next_try_at"]


def test_it_outlives_the_farm_and_a_person_closes_it(tmp_path: Path, other: Other) -> None:
    other.go()
    farm = Farm(tmp_path / "home", {"away": other.table(LATE, *UNITS)})
    with farm.start():
        farm.call("run", source="away")
        until(lambda: opened(farm), 30)
        farm.kill()
        asked = len(other.asked)
        farm.start()
        row = farm.ledger("SELECT id FROM job")[0]
        assert farm.jobs() == {"retrying": 1}
        farm.call("pause_source", name="away")
        assert len(other.asked) == asked == 3
        other.come_back()
        assert "goes on" in farm.cli("sources", "resume", "away").stdout
        until(lambda: farm.jobs() == {"succeeded": len(UNITS) + 1}, 30)
        assert farm.ledger("SELECT attempts FROM job WHERE id = ?", row[0]) == [(3,)]
        assert breaker(farm)["position"] == "closed"


def test_a_run_by_hand_tries_at_once(tmp_path: Path, other: Other) -> None:
    other.go()
    with Farm(tmp_path / "home", {"away": other.table(LATE, "bad")}).start() as farm:
        farm.call("run", source="away")
        until(lambda: opened(farm), 30)
        other.come_back()
        farm.call("run", source="away")
        until(lambda: farm.jobs() == {"succeeded": 2}, 30)


def test_an_open_breaker_explains_itself(tmp_path: Path, other: Other) -> None:
    sources = {"away": other.table(LATE, *UNITS)}
    with Farm(tmp_path / "home", sources).start() as farm:
        farm.call("run", source="away")
        until(lambda: farm.jobs() == {"succeeded": len(UNITS) + 1}, 30)
        other.go()
        farm.call("submit", source="away", jobs=[{"key": f"bad-{i}"} for i in range(40)])
        until(lambda: opened(farm) and not farm.ledger("SELECT 1 FROM job WHERE state = 'running'"), 30)
        [(waiting,)] = farm.ledger("SELECT id FROM job WHERE state = 'pending' LIMIT 1")
        sentence = farm.cli("jobs", "explain", str(waiting)).stdout
        assert "nobody answers at example.org" in sentence
        assert "next try in" in farm.cli("sources", "list").stdout


def test_a_failure_that_accuses_nobody_keeps_its_retry_policy(tmp_path: Path, other: Other) -> None:
    other.go()
    with Farm(tmp_path / "home", {"away": other.table(LATE, "bad", way="vague")}).start() as farm:
        farm.call("run", source="away")
        until(lambda: farm.jobs() == {"quarantined": 1}, 30)
        assert len(other.asked) == 4
        assert not opened(farm)


def test_a_retry_after_rests_the_whole_source_and_costs_nothing(tmp_path: Path, other: Other) -> None:
    table = other.table({}, *UNITS, way="rate", sleep_s=1.5) | {"profile": {"max_concurrent": 1}}
    with Farm(tmp_path / "home", {"away": table}).start() as farm:
        farm.call("run", source="away")
        until(lambda: farm.jobs() == {"succeeded": len(UNITS) + 1}, 30)
        asked = len(other.asked)
        other.go()
        farm.call("run", source="away", type="replay")
        until(lambda: len(other.asked) == asked + 1, 30)
        other.come_back()
        until(lambda: farm.jobs() == {"succeeded": 2 * (len(UNITS) + 1)}, 30)
        first, second = other.asked[asked : asked + 2]
        assert second - first >= 1.5
        assert {row[0] for row in farm.ledger("SELECT attempts FROM job")} == {1}


def test_a_drain_ends_though_its_source_is_away(tmp_path: Path, other: Other) -> None:
    other.go()
    with Farm(tmp_path / "home", {"away": other.table(LATE, "bad")}) as farm:
        assert farm.drain() == 3
        assert len(other.asked) == 4


def test_requests_per_second_hold_for_all_cells_together(tmp_path: Path, other: Other) -> None:
    limits = {"requests_per_second": 10, "burst": 2}
    table = other.table(limits, *UNITS) | {"profile": {"max_concurrent": 4, "batch": 2}}
    with Farm(tmp_path / "home", {"away": table}, workers=4) as farm:
        assert farm.drain() == 0
        asked = sorted(other.asked)
        assert len(asked) == len(UNITS) + 1
        assert asked[-1] - asked[0] >= (len(asked) - 2) / 10 - 0.05
        [row] = farm.json("sources", "list")
        assert row["limits"] == {"max_concurrent": 4, "requests_per_second": 10, "burst": 2}
