"""A state folder with a job in every state, written by the ledger itself; and the command line, called in place."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from farm import home as homes
from farm.cli import main
from farm.core.job import Ending, Event, Evidence, Outcome, RunType, Stage, Usage
from farm.ledger.jobs import NewJob
from farm.ledger.ledger import Ledger

NOW = 1_800_000_000.0


class Clock:
    """A clock that stands where it is put."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class Jobs:
    """Ids of the jobs by the state they rest in."""

    discover: int
    succeeded: int
    running: int
    retrying: int
    quarantined: int
    paused: int
    cancelled: int
    pending: int


def fill(home: Path, *, clock: Clock | None = None) -> Jobs:
    """One run of the source `notes` with a job in every state, and a finished run of `mail`."""
    clock = clock or Clock()
    homes.prepare(home)
    ledger = Ledger.open(home / homes.LEDGER, clock=clock)
    try:
        with ledger.transaction():
            run_id = ledger.runs.create("notes", RunType.FULL, "manual", actor="ada")
            assert run_id is not None
            names = ["a.md", "b.md", "c.md", "d.md", "e.md", "f.md", "g.md"]
            keys = [NewJob(Stage.DISCOVER), *(NewJob(Stage.EXTRACT, key, "1") for key in names)]
            ledger.jobs.submit(run_id, "notes", keys, 1, cause="manual", actor="ada")
        jobs = Jobs(*range(1, 9))
        _end(ledger, clock, jobs.discover, Outcome.SUCCEEDED)
        _end(ledger, clock, jobs.succeeded, Outcome.SUCCEEDED)
        _end(ledger, clock, jobs.retrying, Outcome.TRANSIENT, message="the mail server was busy")
        _end(ledger, clock, jobs.quarantined, Outcome.TIMED_OUT, message="took longer than 30 s")
        with ledger.transaction():
            ledger.attempts.lease([jobs.running], cpu=1.0, memory_bytes=100_000_000)
            ledger.jobs.move([jobs.paused], Event.PAUSE, actor="ada", cause="asked for")
            ledger.jobs.move([jobs.cancelled], Event.CANCEL, actor="bob", cause="asked for")
            ledger.runs.count_documents(jobs.succeeded, new=1)
        with ledger.transaction():
            mail = ledger.runs.create("mail", RunType.INCREMENTAL, "every", actor="every")
            assert mail is not None
            ledger.jobs.submit(mail, "mail", [NewJob(Stage.DISCOVER)], 1)
        _end(ledger, clock, 9, Outcome.SUCCEEDED)
    finally:
        ledger.close()
    return jobs


def _end(ledger: Ledger, clock: Clock, job_id: int, outcome: Outcome, message: str = "") -> None:
    with ledger.transaction():
        (spec,) = ledger.attempts.lease([job_id], cpu=0.5, memory_bytes=256_000_000)
    began = clock.now
    clock.now += 2.0
    failed = outcome is not Outcome.SUCCEEDED
    evidence = Evidence("Traceback: line 1", "last words", "python 3.11") if failed else None
    with ledger.transaction():
        ledger.attempts.close(
            [
                Ending(
                    job_id=job_id,
                    attempt_id=spec.attempt_id,
                    outcome=outcome,
                    message=message,
                    started_at=began,
                    usage=Usage(2.0, 1.5, 120_000_000),
                    signal=9 if outcome is Outcome.TIMED_OUT else None,
                    evidence=evidence,
                )
            ]
        )
        if outcome is Outcome.SUCCEEDED:
            ledger.jobs.move([job_id], Event.SUCCEED, outcome=outcome)
        elif outcome is Outcome.TRANSIENT:
            ledger.jobs.move([job_id], Event.FAIL, outcome=outcome, message=message, attempts="attempts + 1")
            ledger.jobs.move([job_id], Event.RETRY, due_at=clock.now + 40)
        else:
            ledger.jobs.move(
                [job_id], Event.TIME_OUT, outcome=outcome, message=message, attempts="attempts + 1"
            )
            ledger.jobs.move([job_id], Event.QUARANTINE, reason="timeout")


def write_config(home: Path, folder: Path) -> None:
    """farm.toml with the sources of `fill`."""
    folder.mkdir(parents=True, exist_ok=True)
    homes.prepare(home)
    text = f"""\
[sources.notes]
connector = "local_files"
every = "15m"
[sources.notes.options]
path = {json.dumps(str(folder))}
[sources.mail]
connector = "command"
[sources.mail.options]
argv = ["true"]
"""
    (home / "farm.toml").write_text(text)
    homes.keep_in_force(home, text)  # a farm has been here


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Farm:
    """`farm --home HOME …`, in this process."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self._capsys = capsys

    def __call__(self, *args: str) -> Ran:
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["--home", str(self.home), *args])
        captured = self._capsys.readouterr()
        return Ran(int(ended.value.code or 0), captured.out, captured.err)
