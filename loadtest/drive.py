"""Drive: a scenario against a real farm; everything that was seen goes into the record."""

from __future__ import annotations

import heapq
import os
import platform
import sqlite3
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from loadtest import probes
from loadtest.farmhouse import Farmhouse, until
from loadtest.record import Event, Writer
from loadtest.scenario import Scenario, Source

CONNECTOR = "loadtest.work:Work"
SAMPLE_S = 0.5
STATUS_S = 1.0
LEVELS = {"low": 0, "normal": 1, "high": 2}


def drive(scenario: Scenario, path: Path) -> Path:
    """Run it; the record is in `path`."""
    with Writer(path) as record, tempfile.TemporaryDirectory(prefix="loadtest-") as folder:
        record("meta", scenario=scenario.model_dump(mode="json"), machine=machine(), at=time.time())
        record.all("figure", probes.without_farm(scenario.probes, Path(folder)))
        if scenario.sources:
            _Drive(scenario, record, Path(folder, "home")).run()
    return path


def machine() -> dict[str, Any]:
    """What the figures depend on; no names."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "kernel": platform.release(),
        "load": os.getloadavg()[0],
    }


def config_of(scenario: Scenario) -> dict[str, Any]:
    """The scenario's farm.toml."""
    return {
        "farm": scenario.farm,
        "sources": {
            source.name: {
                "connector": CONNECTOR,
                "priority": source.priority,
                "weight": source.weight,
                "profile": source.profile,
                "retry": source.retry,
            }
            for source in scenario.sources
        },
    }


class _Drive:
    def __init__(self, scenario: Scenario, record: Writer, home: Path) -> None:
        self.scenario = scenario
        self.record = record
        self.farm = Farmhouse(home, config_of(scenario))
        self._over = threading.Event()
        self._writing = threading.Lock()

    def run(self) -> None:
        with self.farm:
            until(lambda: self._warm(), 30, "a cell is warm")
            self.record.all("figure", probes.with_farm(self.scenario.probes, self.farm))
            watcher = threading.Thread(target=self._watch, name="sampler")
            watcher.start()
            try:
                self._submit()
                self._wait()
                self._note("phase", name="over", at=time.time())
            finally:
                self._over.set()
                watcher.join()
        for type_, row in _told(self.farm.home / "ledger.db"):
            self.record(type_, **row)

    def _warm(self) -> bool:
        return any(cell["state"] == "idle" for cell in self.farm.ask("status_live")["cells"])

    def _note(self, type_: str, **fields: Any) -> None:
        with self._writing:
            self.record(type_, **fields)

    # -- submit

    def _submit(self) -> None:
        """Each source's jobs at their moments."""
        sources = {source.name: source for source in self.scenario.sources}
        preloaded = [source.name for source in self.scenario.sources if source.preload]
        for name in preloaded:
            self.farm.ask("pause_source", name=name)
            self._send_all(name, [job for _, job in sources[name].jobs(self.scenario.seed)])
        for name in preloaded:
            self.farm.ask("resume_source", name=name)
        self.began = time.monotonic()
        self._note("phase", name="began", at=time.time())
        arriving = (_arrivals(s, self.scenario.seed) for s in self.scenario.sources if not s.preload)
        due = heapq.merge(*arriving, key=lambda entry: entry[:3])
        for at, entries in _together(due):
            if self._is_late(at):
                return
            time.sleep(max(0.0, at - self._now()))
            for name, jobs in entries.items():
                self._send_all(name, jobs)

    def _now(self) -> float:
        return time.monotonic() - self.began

    def _is_late(self, at: float) -> bool:
        return self.scenario.run_s is not None and max(at, self._now()) > self.scenario.run_s

    def _send_all(self, name: str, jobs: list[dict[str, Any]]) -> None:
        source = next(source for source in self.scenario.sources if source.name == name)
        size = source.arrival.at_once
        for start in range(0, len(jobs), size):
            some = jobs[start : start + size]
            sent = time.time()
            answer = self.farm.ask("submit", source=name, jobs=some, priority=LEVELS[source.priority])
            self._note(
                "submit", source=name, run=answer["run_id"], jobs=len(some), sent=sent, answered=time.time()
            )

    def _wait(self) -> None:
        if self.scenario.run_s is not None:
            time.sleep(max(0.0, self.scenario.run_s - self._now()))
        else:
            until(lambda: self.farm.open_jobs() == 0, self.scenario.most_s, "all jobs are over", every_s=0.02)

    # -- watch

    def _watch(self) -> None:
        asked = 0.0
        while not self._over.is_set():
            counts: dict[str, int] = defaultdict(int)
            for states in self.farm.counts().values():
                for state, n in states.items():
                    counts[state] += n
            self._note("sample", at=time.time(), jobs=dict(counts), **self.farm.usage())
            if self.scenario.probes.status and time.monotonic() - asked >= STATUS_S:
                asked = time.monotonic()
                status = self.farm.ask("status_live")
                holds = [{"source": h["source"], "reason": h["reason"]} for h in status["holds"]]
                self._note("status", at=time.time(), budget=status["budget"], holds=holds)
            self._over.wait(SAMPLE_S)


Due = tuple[float, str, int, dict[str, Any]]


def _arrivals(source: Source, seed: str) -> Iterator[Due]:
    return ((at, source.name, n, job) for n, (at, job) in enumerate(source.jobs(seed)))


def _together(due: Iterator[Due]) -> Iterator[tuple[float, dict[str, list[dict[str, Any]]]]]:
    """What is due at the same moment goes in one request of each source."""
    for at, same in groupby(due, key=lambda entry: entry[0]):
        entries: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for _, name, _, job in same:
            entries[name].append(job)
        yield at, entries


def _told(path: Path) -> Iterator[tuple[str, Event]]:
    """What the ledger of a stopped farm says of its jobs and attempts.

    The n-th lease of a job began its n-th attempt: so each attempt gets the moment of its lease, from which
    on it holds what it reserved. Jobs that only ever waited are told as a number.
    """
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    db.row_factory = sqlite3.Row
    for row in db.execute(
        "SELECT id, run_id AS run, source, priority, state, attempts, deaths, reason, created_at FROM job"
        " WHERE number > 0 OR state <> 'pending' ORDER BY id"
    ):
        yield "job", dict(row)
    waiting = db.execute(
        "SELECT source, count(*) AS jobs, min(created_at) AS since FROM job"
        " WHERE number = 0 AND state = 'pending' GROUP BY source"
    )
    for row in waiting:
        yield "waiting", dict(row)
    for row in db.execute(
        """
        SELECT attempt.id, attempt.job_id AS job, attempt.launch_id AS launch, attempt.cpu, attempt.memory_bytes,
               lease.at AS leased, attempt.started_at AS started, attempt.ended_at AS ended, attempt.outcome,
               attempt.wall_s, attempt.cpu_s, attempt.memory_peak_bytes
        FROM attempt JOIN (
            SELECT job_id, at, row_number() OVER (PARTITION BY job_id ORDER BY id) AS number
            FROM transition WHERE event = 'lease') AS lease
        ON lease.job_id = attempt.job_id AND lease.number = attempt.number
        ORDER BY attempt.id
        """
    ):
        yield "attempt", dict(row)
    db.close()
