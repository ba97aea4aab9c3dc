"""Bad work is contained: each misbehaviour ends as its own outcome, its neighbours finish untouched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from farm.workers import proc
from tests.support.farms import Farm, misbehaving
from tests.support.wait import until

UNITS = ("good1", "bad", "good2")
PROFILE = {
    "cpu": 0.1,
    "memory": "192MB",
    "memory_max": "256MB",
    "timeout": "1500ms",
    "stall": "1s",
    "batch": 8,
    "max_concurrent": 1,
}
RETRY = {"max_attempts": 2, "base": "50ms", "max": "50ms", "jitter": 0.0, "max_deaths": 2}


def source(connector: str, way: str = "", **options: Any) -> dict[str, Any]:
    return misbehaving(connector, *UNITS, profile=PROFILE, retry=RETRY, options={"way": way, **options})


CASES = [
    # connector, way, outcome, reason
    ("Hang", "lively", "timed_out", "timeout"),
    ("Hang", "", "stalled", "timeout"),
    ("Deaf", "", "stalled", "timeout"),
    ("Crash", "", "crashed", "worker_crashed"),
    ("Crash", "exit0", "crashed", "worker_crashed"),
    ("Crash", "kill", "crashed", "worker_crashed"),
    ("Stop", "", "stalled", "timeout"),
    ("Gil", "", "stalled", "timeout"),
    ("Leak", "", "out_of_memory", "resource_exhausted"),
    ("Leak", "child", "out_of_memory", "resource_exhausted"),
    ("Liar", "exception", "transient", "connector_error"),
    ("Liar", "object", "permanent", "connector_error"),
    ("Flood", "output", "transient", "connector_error"),
    ("Forks", "", "stalled", "timeout"),
    ("Raises", "permanent", "permanent", "connector_error"),
    ("Raises", "invalid", "invalid_input", "parse_error"),
    ("Raises", "import", "dependency", "dependency_failure"),
    ("Raises", "permission", "permanent", "permission_denied"),
]


def test_each_misbehaviour_harms_its_own_job_only(tmp_path: Path) -> None:
    """All of them at once in one farm, beside a source that behaves."""
    sources = {
        f"{connector.lower()}{'_' + way if way else ''}": source(connector, way, sleep_s=0.3)
        for connector, way, _, _ in CASES
    }
    sources["calm"] = misbehaving("Noop", *(f"good{i}" for i in range(20)), profile=PROFILE)
    with Farm(tmp_path / "home", sources, workers=4) as farm:
        assert farm.drain(100) == 3
        quarantined = {row["source"]: row for row in farm.json("quarantine", "list")}
        jobs = farm.json("jobs", "list", "--limit", "1000")
        found = {
            name: (job["outcome"], job["reason"])
            for name in sources
            for job in jobs
            if job["source"] == name and job["key"] == "bad"
        }
        wanted = {
            f"{connector.lower()}{'_' + way if way else ''}": (outcome, reason)
            for connector, way, outcome, reason in CASES
        }
        assert found == wanted
        assert set(quarantined) == set(wanted)
        others = [job for job in jobs if job["key"] != "bad"]
        assert {job["state"] for job in others} == {"succeeded"}
        assert {job["attempts"] for job in others if job["stage"] == "extract"} == {1}
        assert farm.cli("doctor").returncode == 0, farm.cli("doctor").stdout
    assert not farm.processes()


def test_a_hung_job_is_retried_then_quarantined_with_its_evidence(tmp_path: Path) -> None:
    with Farm(tmp_path / "home", {"hang": source("Hang", "lively")}) as farm:
        assert farm.drain() == 3
        (row,) = farm.json("quarantine", "list")
        assert (row["reason"], row["attempts"]) == ("timeout", 2)
        job = farm.json("jobs", "show", str(row["job_id"]))
        assert [attempt["outcome"] for attempt in job["attempts"]] == ["timed_out", "timed_out"]
        assert all(1.4 < attempt["wall_s"] < 2.5 for attempt in job["attempts"])
        moves = [(move["from_state"], move["event"], move["to_state"]) for move in job["transitions"]]
        assert moves == [
            (None, "submit", "pending"),
            ("pending", "lease", "running"),
            ("running", "time_out", "failed"),
            ("failed", "retry", "retrying"),
            ("retrying", "lease", "running"),
            ("running", "time_out", "failed"),
            ("failed", "quarantine", "quarantined"),
        ]


def test_a_whole_tree_is_gone_half_a_second_after_its_deadline(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    profile = {**PROFILE, "timeout": "1s", "stall": "30s"}
    deaf = misbehaving("Deaf", "bad", profile=profile, retry={"max_attempts": 1}, options={"pids": str(pids)})
    with Farm(tmp_path / "home", {"deaf": deaf}) as farm:
        farm.start()
        farm.call("run", source="deaf")
        until(lambda: farm.ledger("SELECT 1 FROM job WHERE key = 'bad' AND state = 'running'"), 20)
        until(lambda: pids.exists() and len(pids.read_text().split()) >= 4, 5)
        tree = [int(pid) for pid in pids.read_text().split()]
        row = until(
            lambda: farm.ledger(
                "SELECT attempt.wall_s FROM attempt JOIN job ON job.id = job_id"
                " WHERE key = 'bad' AND attempt.outcome = 'timed_out'"
            ),
            20,
        )
        (wall_s,) = row[0]
        alive = [pid for pid in tree if (found := proc.stat(pid)) is not None and not found.gone]
        assert alive == []
        assert wall_s < 1.5  # until its worker was frozen


def test_the_next_attempt_after_out_of_memory_reserves_more(tmp_path: Path) -> None:
    with Farm(tmp_path / "home", {"leak": source("Leak", "slowly")}) as farm:
        farm.start()
        before = proc.stat(farm.pid)
        farm.call("run", source="leak")
        farm.until_jobs(quarantined=1)
        rows = farm.ledger(
            "SELECT attempt.memory_bytes, memory_peak_bytes FROM attempt JOIN job ON job.id = job_id"
            " WHERE attempt.outcome = 'out_of_memory' ORDER BY attempt.id"
        )
        assert len(rows) == 2
        assert rows[1][0] > rows[0][0]
        assert all(peak > 100_000_000 for _, peak in rows)
        assert before is not None
        status = Path(f"/proc/{farm.pid}/status").read_text()
        resident_kib = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))
        assert resident_kib < 120_000


@pytest.mark.parametrize("way", ["cancel", "pause"])
def test_a_running_job_can_be_ended_by_its_operator(tmp_path: Path, way: str) -> None:
    profile = {**PROFILE, "timeout": "60s", "stall": "60s"}
    hang = misbehaving("Hang", *UNITS, profile=profile)
    with Farm(tmp_path / "home", {"hang": hang}) as farm:
        farm.start()
        farm.call("run", source="hang")
        (job,) = until(lambda: farm.ledger("SELECT id FROM job WHERE key = 'bad' AND state = 'running'"), 20)
        until(lambda: any(cell["job_id"] == job[0] for cell in farm.call("status_live")["cells"]), 10)
        assert farm.cli("jobs", way, str(job[0])).returncode == 0
        farm.until_jobs(running=0, succeeded=3, **{"cancelled" if way == "cancel" else "paused": 1})
        if way == "pause":
            assert farm.cli("jobs", "resume", str(job[0])).returncode == 0
            farm.until_jobs(running=1)
