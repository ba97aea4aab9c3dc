"""Whatever a job does to its process, it is its own ending, and its neighbours finish untouched."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from farm.core.job import Ending, Outcome, Reason
from tests.support.wait import until
from tests.workers.conftest import Bench, living, noted

O = Outcome  # noqa: E741 - a table below is easier to read with it


def contained(bench: Bench, connector: str, **options: Any) -> Ending:
    """Run good, bad, good in one launch beside a neighbour in another cell; returns the bad one's ending.

    Jobs that were never started are launched again, as the dispatcher would.
    """
    neighbour = bench.launch("Sleeps", "neighbour", sleep_s=0.15)
    launch_id = bench.launch(connector, "good1", "bad", "good2", **options)
    finished = bench.wait(launch_id)
    cell_free_at = bench.over_at[launch_id]
    endings = {e.job_id - 10_000 - launch_id: e for e in finished.endings}
    assert endings[0].outcome is O.SUCCEEDED
    assert [line["key"] for line in bench.lines(launch_id, endings[0])] == ["good1"]
    if 2 in endings:
        assert endings[2].outcome is O.SUCCEEDED
    else:
        assert finished.unstarted == (10_000 + launch_id + 2,)
    again = bench.run(connector, "good2", **options)
    assert again["good2"] is not None and again["good2"].outcome is O.SUCCEEDED
    assert time.monotonic() - cell_free_at < 1.0, "its cell was not usable within a second"
    [untouched] = bench.wait(neighbour).endings
    assert untouched.outcome is O.SUCCEEDED
    assert untouched.usage.wall_s < 0.15 + 0.25
    return endings[1]


@pytest.mark.parametrize(
    ("connector", "options", "outcome", "message"),
    [
        ("Crash", {}, O.CRASHED, "signal 11 (SIGSEGV)"),
        ("Crash", {"way": "abort"}, O.CRASHED, "signal 6 (SIGABRT)"),
        ("Crash", {"way": "refused"}, O.OUT_OF_MEMORY, "refused 1,048,576 bytes"),
        ("Crash", {"way": "kill"}, O.CRASHED, "signal 9 (SIGKILL)"),
        ("Crash", {"way": "exit3"}, O.CRASHED, "code 3"),
        ("Crash", {"way": "closes"}, O.CRASHED, "code"),
        ("Exit0", {}, O.CRASHED, "code 0 before its job had ended"),
        ("Stop", {"timeout_s": 0.5}, O.TIMED_OUT, "longer than its 0.5 s"),
        ("Stop", {"stall_s": 0.4}, O.STALLED, "no sign of life for 0.4 s"),
        ("Gil", {"timeout_s": 0.5}, O.TIMED_OUT, "longer than its 0.5 s"),
        ("Hang", {"stall_s": 0.4}, O.STALLED, "no sign of life"),
        ("Hang", {"timeout_s": 0.6, "stall_s": 0.3, "way": "lively"}, O.TIMED_OUT, "longer than"),
        ("Forks", {"timeout_s": 1.0}, O.TIMED_OUT, "longer than its 1 s"),
        ("Liar", {"way": "exception"}, O.TRANSIENT, "Unspeakable"),
        ("Liar", {"way": "object"}, O.PERMANENT, "yielded a dict"),
        ("Liar", {"size": 10**9, "memory_bytes": 8 << 30}, O.PERMANENT, "of 1,000,000,0"),
        ("Liar", {"size": 10**9, "memory_bytes": 300 << 20}, O.OUT_OF_MEMORY, ""),
        ("Flood", {"way": "output", "sleep_s": 0.2}, O.TRANSIENT, "no more output"),
        ("Flood", {"way": "child", "sleep_s": 0.2}, O.TRANSIENT, "no more output"),
        ("Leaves", {}, O.SUCCEEDED, ""),
        ("Returns", {}, O.SUCCEEDED, ""),
    ],
)
def test_a_bad_job_harms_only_itself(
    bench: Bench, tmp_path: Path, connector: str, options: dict[str, Any], outcome: Outcome, message: str
) -> None:
    pids = tmp_path / "pids"
    ending = contained(bench, connector, pids=str(pids), **options)
    assert ending.outcome is outcome, ending
    assert message in ending.message
    if outcome is not O.SUCCEEDED:
        assert ending.evidence is not None
        assert ending.pid
    if connector not in ("Hang", "Gil", "Stop"):
        assert ending.usage.wall_s > 0
    until(lambda: not living(noted(pids)), 2.0, what="the job's processes are gone")


def test_a_segfault_leaves_the_stack_as_evidence(bench: Bench) -> None:
    ending = bench.run("Crash", "bad")["bad"]
    assert ending is not None and ending.evidence is not None
    assert ending.signal == 11
    assert "about to crash" in ending.evidence.log
    assert "in misbehave" in ending.evidence.log
    assert "python" in ending.evidence.versions


def test_an_exit_code_is_kept(bench: Bench) -> None:
    ending = bench.run("Crash", "bad", way="exit3")["bad"]
    assert ending is not None
    assert (ending.exit, ending.signal) == (3, None)


def test_flooded_output_is_bounded_and_its_last_lines_kept(bench: Bench) -> None:
    ending = bench.run("Flood", "bad", way="output", sleep_s=0.5)["bad"]
    assert ending is not None and ending.evidence is not None
    assert ending.evidence.log.endswith("the last line\n")
    assert len(ending.evidence.log) <= 8 * 1024


def test_flooded_output_takes_no_disk_for_long(bench: Bench) -> None:
    launch_id = bench.launch("Flood", "bad", way="output", sleep_s=1.0)
    number = next(f.number for f in bench.pool.facts() if f.launch_id == launch_id)
    logs = (bench.home / "beat").glob(f"{number}-*.log")
    log = max(logs, key=lambda path: path.stat().st_mtime)  # a dead cell's may not be gone yet
    until(lambda: (s := log.stat()).st_size > 64 << 20 and s.st_blocks * 512 < s.st_size // 2, 5.0)
    bench.wait(launch_id)
    assert log.stat().st_size == 0


def test_a_broken_import_is_a_missing_dependency(bench: Bench) -> None:
    ending = bench.run("tests.support.broken_import:BrokenImport", "a")["a"]
    assert ending is not None and ending.evidence is not None
    assert ending.outcome is O.DEPENDENCY
    assert "no_such_library" in ending.message
    assert "no_such_library" in ending.evidence.traceback


@pytest.mark.parametrize(
    ("way", "outcome", "reason"),
    [
        ("", O.TRANSIENT, None),
        ("value", O.TRANSIENT, None),
        ("exit", O.TRANSIENT, None),
        ("permanent", O.PERMANENT, None),
        ("invalid", O.INVALID_INPUT, None),
        ("rate", O.RATE_LIMITED, None),
        ("permission", O.PERMANENT, Reason.PERMISSION_DENIED),
        ("import", O.DEPENDENCY, None),
    ],
)
def test_what_a_connector_raises_is_classed(
    bench: Bench, way: str, outcome: Outcome, reason: Reason | None
) -> None:
    found = bench.run("Raises", "bad", "good", way=way)
    assert found["bad"] is not None
    assert (found["bad"].outcome, found["bad"].reason) == (outcome, reason)
    assert found["bad"].retry_after_s == (12.5 if way == "rate" else None)
    assert found["good"] is not None and found["good"].outcome is O.SUCCEEDED


def test_strings_that_json_cannot_hold_are_cleaned(bench: Bench) -> None:
    found = bench.run("Liar", "bad", way="surrogates")["bad"]
    assert found is not None and found.outcome is O.SUCCEEDED
    [odd, _] = bench.lines(found.attempt_id, found)
    assert odd["text"] == "caf\ufffd "


def test_an_unknown_connector_is_a_missing_dependency(bench: Bench) -> None:
    ending = bench.run("tests.no_such_module:Thing", "a")["a"]
    assert ending is not None and ending.outcome is O.DEPENDENCY
