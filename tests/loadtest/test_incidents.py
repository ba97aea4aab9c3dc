"""The arithmetic of what goes wrong on purpose."""

import pytest

from loadtest import incidents
from tests.loadtest.events import attempt, job, phases, record, sample, source


def told(*events, **scenario):
    found = record(*events, **scenario)
    return incidents.told(found, found.meta["scenario"])


def test_a_tree_is_late_by_what_it_outlived_its_deadline():
    found = told(
        job(1),
        attempt(1, 1, 10.0, started=10.5, wall_s=2.0, outcome="timed_out"),
        ("gone", {"key": "k1", "at": 12.53}),
        sources=[source(profile={"timeout": "2s"})],
    )
    assert found["kill.gone_ms"]["median"] == pytest.approx(30)
    assert found["kill.gone.p99_ms"]["median"] == pytest.approx(30)


def test_a_job_is_delayed_by_what_it_took_longer_than_asked_near_a_kill_and_apart_from_one():
    found = told(
        job(1),
        job(2, "steady"),
        job(3, "steady"),
        attempt(1, 1, 0.0, wall_s=5.0, ended=5.2, outcome="crashed"),
        attempt(2, 2, 4.9, wall_s=0.53),
        attempt(3, 3, 7.0, wall_s=0.51),
        sources=["a", source("steady", job={"wall_s": {"value": 0.5}})],
    )
    assert found["delay.near_kills_ms"]["median"] == pytest.approx(30)
    assert found["delay.otherwise_ms"]["median"] == pytest.approx(10)


@pytest.mark.parametrize(
    "fields",
    [
        {"job": {"wall_s": {"value": 0.5}, "memory_bytes": {"value": 1e6}}},
        {"job": {"wall_s": {"value": 0.5}, "cpu": 0.5}},
        {"job": {"wall_s": {"value": 0.5}}, "faults": {"fail": 0.1}},
        {"job": {"wall_s": {"kind": "uniform", "low": 0.1, "high": 0.5}}},
    ],
)
def test_only_jobs_that_do_nothing_but_wait_can_be_delayed(fields):
    events = (
        job(1),
        job(2, "b"),
        attempt(1, 1, 0.0, outcome="crashed"),
        attempt(2, 2, 0.5, wall_s=0.6),
    )
    assert "delay.near_kills_ms" not in told(*events, sources=["a", source("b", **fields)])


def test_without_a_kill_nothing_is_delayed_by_one():
    found = told(job(1), attempt(1, 1, 0.0), sources=[source(job={"wall_s": {"value": 0.5}})])
    assert not [name for name in found if name.startswith("delay")]


def test_a_retry_is_late_by_what_its_lease_came_after_its_due_time():
    found = told(
        job(1),
        attempt(1, 1, 0.0, wall_s=1.0, outcome="transient"),
        attempt(2, 1, 21.25, wall_s=1.0),
        sample(1.0, cpu_s=1.0, retrying=0),
        sample(2.0, cpu_s=1.5, retrying=2),
        sample(4.0, cpu_s=1.6, retrying=2),
        sample(6.0, cpu_s=1.7, retrying=2),
        sources=[source(retry={"strategy": "fixed", "base": "20s", "jitter": 0.0})],
    )
    assert found["retry.late_ms"]["median"] == pytest.approx(250)
    assert found["retry.deepest"]["median"] == 2
    assert found["retry.resting_cpu_percent"]["median"] == pytest.approx(5)


def test_where_chance_sets_the_due_time_no_retry_is_called_late():
    found = told(
        job(1),
        attempt(1, 1, 0.0, outcome="transient"),
        attempt(2, 1, 21.25),
        sources=[source(retry={"strategy": "fixed", "base": "20s"})],
    )
    assert "retry.late_ms" not in found


def test_a_farm_works_again_with_its_first_lease():
    restart = {"killed": 5.0, "started": 5.1, "answered": 5.6, "leased": 5.9, "in_flight": 7, "cpu_s": 0.4}
    found = told(job(1), attempt(1, 1, 0.0), ("restart", restart))
    assert found["restart.working_ms"]["median"] == pytest.approx(800)
    assert found["restart.answers_ms"]["median"] == pytest.approx(500)
    assert found["restart.cpu_ms"]["median"] == pytest.approx(400)
    assert found["restart.in_flight"]["median"] == 7


def test_a_lower_launch_is_an_inversion_while_a_higher_job_waits():
    found = told(
        job(1, "low", priority=0),
        job(2, "low", priority=0),
        job(3, "high", created=1.0, priority=2),
        job(4, "low", priority=0),
        attempt(1, 1, 0.5),
        attempt(2, 2, 1.5),
        attempt(3, 3, 2.0),
        attempt(4, 4, 2.5),
        sources=[source("low", priority="low"), source("high", priority="high")],
    )
    assert found["priority.inversions_percent"]["median"] == 25


def test_who_came_in_the_very_moment_of_a_lease_was_not_passed_over():
    events = (
        job(1, "low", priority=0),
        job(2, "high", created=1.0, priority=2),
        attempt(1, 1, 1.01),
        attempt(2, 2, 1.5),
    )
    sources = [source("low", priority="low"), source("high", priority="high")]
    assert told(*events, sources=sources)["priority.inversions_percent"]["median"] == 0


def test_what_ageing_lifts_is_no_inversion():
    events = (
        job(1, "low", created=0.0, priority=0),
        job(2, "high", created=30.0, priority=2),
        attempt(1, 1, 31.0),
        attempt(2, 2, 32.0),
    )
    sources = [source("low", priority="low"), source("high", priority="high")]
    assert told(*events, sources=sources)["priority.inversions_percent"]["median"] == 0


def test_a_file_can_be_found_when_its_job_was_settled_and_is_missing_when_it_never_was():
    found = told(
        job(1, key="one.md"),
        attempt(1, 1, 1.0, wall_s=0.1, ended=1.4),
        ("file", {"source": "a", "key": "one.md", "at": 1.0, "bytes": 3}),
        ("file", {"source": "a", "key": "two.md", "at": 1.0, "bytes": 3}),
        sources=[source(folder={"watch": True})],
    )
    assert found["files.a_s"]["median"] == pytest.approx(0.4)
    assert found["files.missing"]["median"] == 1


def test_documents_are_missing_that_succeeded_and_are_not_in_the_store():
    found = told(
        job(1),
        job(2),
        attempt(1, 1, 0.0),
        attempt(2, 2, 0.0),
        ("stored", {"documents": 1}),
        sources=[source(job={"document_bytes": {"value": 10}})],
    )
    assert found["documents.missing"]["median"] == 1


def test_the_start_of_a_job_that_came_alone_is_told_by_source():
    submit = {"source": "a", "run": 1, "jobs": 1, "sent": 1.0, "answered": 1.1}
    found = told(job(1, created=1.05), attempt(1, 1, 1.2, started=1.3), ("submit", submit))
    assert found["start.a_ms"]["median"] == pytest.approx(300)
    parts = [found[f"latency.to_{part}_ms"]["median"] for part in ("ledger", "lease", "start")]
    assert parts == pytest.approx([50, 150, 100])


def test_growth_of_memory_is_the_last_tenth_against_the_eighth():
    """What fills until then is bounded."""

    def memory(at: float) -> int:
        return 50 if at < 600 else 100 if at < 900 else 150

    samples = [sample(float(at), memory=memory(at)) for at in range(0, 1000, 10)]
    found = told(job(1), attempt(1, 1, 0.0), *phases(0, 1000), *samples)
    assert found["growth.memory_percent"]["median"] == pytest.approx(50)


def test_a_short_run_has_no_growth():
    found = told(job(1), attempt(1, 1, 0.0), sample(0.0), sample(500.0))
    assert "growth.memory_percent" not in found
