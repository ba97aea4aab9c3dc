from __future__ import annotations

from pathlib import Path

import pytest

from farm import control
from farm import home as homes
from farm.ledger import views
from farm.ledger.explain import explain
from tests.cli.world import NOW, Farm, Jobs


def say(home: Path, job_id: int, *, now: float = NOW + 20, running: bool = False, ahead: int = 0) -> str:
    db = views.connect(home)
    job = views.job(db, job_id)
    return explain(job, views.sources(db, ["notes"])["notes"], ahead=ahead, now=now, running=running)


def test_each_state_has_its_sentence(home: Path, jobs: Jobs) -> None:
    assert say(home, jobs.succeeded) == "it succeeded at its 1st attempt, 16 s ago, in 2 s"
    assert say(home, jobs.cancelled) == "it was cancelled by bob 12 s ago: asked for"
    assert (
        say(home, jobs.paused)
        == f"it is paused by ada since 12 s ago: `farm jobs resume {jobs.paused}` lets it go on"
    )
    assert say(home, jobs.quarantined) == (
        "it is in quarantine since 12 s ago for timeout after 1 attempt: took longer than 30 s;"
        f" `farm quarantine show {jobs.quarantined}` has the evidence,"
        f" `farm jobs retry {jobs.quarantined}` tries again"
    )
    assert say(home, jobs.retrying) == (
        "its 2nd attempt is due in 26 s; the last one ended as transient: the mail server was busy"
    )
    assert "was cut off when the farm ended" in say(home, jobs.running)
    assert say(home, jobs.running, running=True) == "its 1st attempt runs for 12 s"
    assert say(home, jobs.pending) == "it waits for the farm: start it with `farm start`"
    assert say(home, jobs.pending, running=True) == "it is ready and next in its lane"
    assert "with 3 jobs of notes before it" in say(home, jobs.pending, running=True, ahead=3)
    assert "with 1,000 or more jobs of notes" in say(home, jobs.pending, running=True, ahead=1000)
    assert "is due as soon as the farm is started" in say(home, jobs.retrying, now=NOW + 100)


def test_a_paused_source_is_the_reason_of_its_waiting_jobs(farm: Farm, jobs: Jobs) -> None:
    assert farm("sources", "pause", "notes").code == 0
    ran = farm("jobs", "explain", str(jobs.pending))
    assert ran.code == 0
    assert "its source notes is paused by" in ran.out
    assert "`farm sources resume notes` lets it go on" in ran.out


def test_the_running_farm_gives_the_reason_of_a_hold(farm: Farm, jobs: Jobs) -> None:
    asked: list[object] = []

    def handle(op: str, args: dict[str, object], actor: str) -> object:
        asked.append((op, args))
        return {"sentence": "2 jobs of notes run already, which is its limit"}

    server = control.Server(farm.home, handle)
    with homes.Lock(farm.home):
        server.start()
        try:
            ran = farm("jobs", "explain", str(jobs.pending), "--format", "json")
        finally:
            server.close()
    assert ran.json == {"id": jobs.pending, "sentence": "2 jobs of notes run already, which is its limit"}
    assert asked == [("explain", {"job_id": jobs.pending})]


@pytest.mark.parametrize("answer", ["", None])
def test_a_farm_without_a_reason_leaves_the_sentence_to_the_ledger(
    farm: Farm, jobs: Jobs, answer: str | None
) -> None:
    def handle(op: str, args: dict[str, object], actor: str) -> object:
        if answer is None:
            raise homes.FarmRunning()
        return {"sentence": answer}

    server = control.Server(farm.home, handle)
    with homes.Lock(farm.home):
        server.start()
        try:
            ran = farm("jobs", "explain", str(jobs.pending))
        finally:
            server.close()
    assert ran.out == f"job {jobs.pending}: it is ready and next in its lane\n"
