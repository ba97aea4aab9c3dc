from __future__ import annotations

import logging
import re
import stat
from pathlib import Path

import pytest

from farm import telemetry
from farm.telemetry import Name, log


def lines(home: Path) -> list[str]:
    return telemetry.log_path(home).read_text().splitlines()


def test_an_event_is_one_line_with_time_level_and_fields(tmp_path: Path) -> None:
    handler = telemetry.start(tmp_path)
    log(
        Name.ATTEMPT_FINISHED,
        job=812,
        outcome="timed_out",
        held_s=30.2,
        pid=None,
        message='said "no"\nand left',
    )
    telemetry.stop(handler)
    (line,) = lines(tmp_path)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO (.*)", line)
    assert line.endswith(
        'attempt.finished job=812 outcome=timed_out held_s=30.2 message="said \\"no\\"\\nand left"'
    )


def test_every_event_name_is_its_own() -> None:
    values = [name.value for name in Name]
    assert len(values) == len(set(values))
    assert all(re.fullmatch(r"[a-z]+\.[a-z_]+", value) for value in values)


def test_an_error_brings_its_traceback_and_its_level(tmp_path: Path) -> None:
    handler = telemetry.start(tmp_path)
    try:
        raise ValueError("odd")
    except ValueError as error:
        log(Name.CONTROL_FAILED, op="run", error=error)
    telemetry.stop(handler)
    first, *rest = lines(tmp_path)
    assert " ERROR control.failed op=run" in first
    assert rest[-1] == "    ValueError: odd"


def test_what_libraries_log_stands_in_the_same_file(tmp_path: Path) -> None:
    handler = telemetry.start(tmp_path)
    logging.getLogger("apscheduler.scheduler").warning("missed %s", "a job")
    telemetry.stop(handler)
    assert lines(tmp_path)[0].endswith('library.log logger=apscheduler.scheduler message="missed a job"')


def test_the_log_is_rotated_and_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "FILE_BYTES", 2000)
    handler = telemetry.start(tmp_path)
    for n in range(200):
        log(Name.RUN_STARTED, run=n, source="notes")
    telemetry.stop(handler)
    files = sorted((tmp_path / "logs").iterdir())
    assert len(files) == telemetry.FILES_KEPT + 1
    assert all(file.stat().st_size <= 2000 for file in files)
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    assert "run=199" in lines(tmp_path)[-1]


def test_a_log_that_cannot_be_written_stops_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    handler = telemetry.start(tmp_path)
    (tmp_path / "logs").rmdir()
    log(Name.RUN_STARTED, run=1)
    telemetry.stop(handler)
    assert capsys.readouterr().err == ""
