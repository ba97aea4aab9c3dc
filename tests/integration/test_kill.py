"""kill -9 of the farm at any point: it works again at once, nothing is lost, nothing is there twice."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from farm.core.job import Event, State
from farm.core.lifecycle import move
from tests.support.farms import Farm, local_files, misbehaving
from tests.support.wait import until

FILES = 120


def folder_of(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    for i in range(FILES):
        (folder / f"file{i:03}.txt").write_text(f"document number{i:03} " + "of many words " * 50)
    return folder


def assert_every_transition_is_legal(farm: Farm) -> None:
    last: dict[int, State | None] = {}
    for job_id, from_, to, event in farm.ledger(
        "SELECT job_id, from_state, to_state, event FROM transition ORDER BY id"
    ):
        assert last.get(job_id) == (State(from_) if from_ else None)
        assert move(last.get(job_id), Event(event)) == State(to)
        last[job_id] = State(to)
    assert last == {job_id: State(state) for job_id, state in farm.ledger("SELECT id, state FROM job")}


@pytest.mark.parametrize("seed", range(6))
def test_a_kill_at_a_random_moment_loses_nothing_and_doubles_nothing(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    profile = {"batch": 1 + seed % 3 * 8}
    sources = {
        "notes": local_files(folder_of(tmp_path), profile=profile),
        "flaky": misbehaving("Sleeps", *(f"good{i}" for i in range(20)), options={"sleep_s": 0.02}),
    }
    with Farm(tmp_path / "home", sources) as farm:
        for _ in range(3):
            farm.start()
            for source in sources:
                farm.call("run", source=source)
            time.sleep(chance.uniform(0.0, 0.8))  # the moment is what chance decides
            farm.kill()
            until(lambda: not farm.processes(), 5, what=f"still there: {farm.processes()}")
        assert farm.drain() == 0
        assert "resource_tracker" not in farm.output.read_text(), "nobody is warned of what a kill leaves"
        documents = farm.store("SELECT key FROM document WHERE source = 'notes' AND deleted_at IS NULL")
        assert sorted(key for (key,) in documents) == [f"file{i:03}.txt" for i in range(FILES)]
        assert len(farm.json("search", "number007")) == 1
        assert farm.store("SELECT count(*) FROM document WHERE source = 'flaky'") == [(20,)]
        assert set(farm.jobs()) <= {"succeeded", "cancelled"}
        assert_every_transition_is_legal(farm)
        doctor = farm.cli("doctor")
        assert doctor.returncode == 0, doctor.stdout


@pytest.mark.parametrize("connector", ["Gil", "Stop", "Deaf"])
def test_a_killed_farm_leaves_no_process_behind(tmp_path: Path, connector: str) -> None:
    """Not even workers that cannot hear of it: one holds the GIL, one is stopped, one is deaf and has children."""
    profile = {"timeout": "60s", "stall": "60s"}
    with Farm(tmp_path / "home", {"bad": misbehaving(connector, "bad", profile=profile)}) as farm:
        farm.start()
        farm.call("run", source="bad")
        farm.until_jobs(running=1, succeeded=1)
        until(lambda: farm.call("status_live")["cells"][0]["job_id"], 10)
        farm.kill()
        until(lambda: not farm.processes(), 5, what=f"still there: {farm.processes()}")


def test_it_works_again_within_five_seconds_of_its_restart(tmp_path: Path) -> None:
    source = misbehaving("Sleeps", *(f"good{i}" for i in range(200)), options={"sleep_s": 0.05})
    with Farm(tmp_path / "home", {"slow": source}) as farm:
        farm.start()
        farm.call("run", source="slow")
        until(lambda: farm.jobs().get("succeeded", 0) > 5, 20)
        farm.kill()
        began = time.time()
        farm.start(ready=False)
        until(
            lambda: farm.ledger(
                "SELECT 1 FROM attempt WHERE started_at > ? AND outcome = 'succeeded'", began
            ),
            20,
        )
        assert time.time() - began < 5
        lost = farm.ledger("SELECT count(*) FROM attempt WHERE outcome = 'lost'")[0][0]
        assert lost <= 2 * 8


def test_a_second_start_is_told_who_owns_the_folder(tmp_path: Path) -> None:
    with Farm(tmp_path / "home", {}) as farm:
        farm.start()
        second = farm.cli("start")
        assert second.returncode == 1
        assert str(farm.pid) in second.stderr
        assert second.stderr.count("\n") == 1
