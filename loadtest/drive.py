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
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from loadtest import probes
from loadtest.farmhouse import Farmhouse, until
from loadtest.landing import landing_rates
from loadtest.papers import files
from loadtest.record import Writer
from loadtest.scenario import Scenario, Source
from loadtest.sleeper import sleepers
from loadtest.slow_store import held
from loadtest.told import told
from loadtest.witness import Witness

CONNECTOR = "loadtest.work:Work"
SAMPLE_S = 0.5
STATUS_S = 1.0
LEVELS = {"low": 0, "normal": 1, "high": 2}


def drive(scenario: Scenario, path: Path) -> Path:
    """Run it; the record is in `path`."""
    with Writer(path) as record, tempfile.TemporaryDirectory(prefix="loadtest-") as folder:
        record("meta", scenario=scenario.model_dump(mode="json"), machine=machine(), at=time.time())
        record.all("figure", probes.without_farm(scenario.probes, Path(folder)))
        if scenario.probes.landing:
            record.all("figure", landing_rates(Path(folder) / "landing", scenario.probes.landing))
        if scenario.sources:
            _Drive(scenario, record, Path(folder)).run()
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


def config_of(scenario: Scenario, folders: Path) -> dict[str, Any]:
    """The scenario's farm.toml."""
    sources = {}
    for source in scenario.sources:
        sources[source.name] = table = {
            "connector": CONNECTOR,
            "priority": source.priority,
            "weight": source.weight,
            "profile": source.profile,
            "retry": source.retry,
        }
        if source.folder:
            table["connector"] = "local_files"
            table["options"] = {"path": str(folders / source.name)}
            table["watch"] = source.folder.watch
    return {"farm": scenario.farm, "sources": sources}


class _Drive:
    def __init__(self, scenario: Scenario, record: Writer, folder: Path) -> None:
        self.scenario = scenario
        self.record = record
        self.folders = folder / "sources"
        self.farm = Farmhouse(folder / "home", config_of(scenario, self.folders))
        self.sources = {source.name: source for source in scenario.sources}
        self.files = {s.name: 0 for s in scenario.sources if s.folder}
        for name in self.files:
            (self.folders / name).mkdir(parents=True)
        self._witness_path = folder / "witness"
        self._over = threading.Event()
        self._writing = threading.Lock()
        self._restarting = threading.Lock()

    def run(self) -> None:
        with self.farm, Witness(self._witness_path, self._gone):
            until(self._warm, 30, "a cell is warm")
            self.record.all("figure", probes.with_farm(self.scenario.probes, self.farm))
            self._measure_sources()
            watcher = threading.Thread(target=self._watch, name="sampler")
            watcher.start()
            try:
                with held(self.scenario.slow_store, self.farm.home), sleepers() as delays:
                    self._submit()
                    self._kill()
                    self._wait()
                self._note("phase", name="over", at=time.time())
            finally:
                self._over.set()
                watcher.join()
        self.record.all("figure", (probes.figure(name, "ms", late) for name, late in delays.items()))
        self.record("stored", documents=self.farm.documents())
        for type_, row in told(self.farm.home / "ledger.db"):
            self.record(type_, **row)

    def _warm(self) -> bool:
        return any(cell["state"] == "idle" for cell in self.farm.ask("status_live")["cells"])

    def _note(self, type_: str, **fields: Any) -> None:
        with self._writing:
            self.record(type_, **fields)

    def _gone(self, key: str, at: float) -> None:
        self._note("gone", key=key, at=at)

    def _measure_sources(self, nth: int = 0) -> None:
        """No-ops for the sources that want them; they are no part of what is reported."""
        for source in self.scenario.sources:
            if source.warm:
                jobs = [{"key": f"warm-{nth}-{n}"} for n in range(source.warm)]
                self.farm.ask("submit", source=source.name, jobs=jobs)
        until(lambda: self.farm.open_jobs() == 0, 60, "the no-ops are done")

    # -- submit

    def _submit(self) -> None:
        """Each source's jobs at their moments."""
        preloaded = [source.name for source in self.scenario.sources if source.preload]
        for name in preloaded:
            self.farm.ask("pause_source", name=name)
            self._send_all(name, [job for _, job in self._jobs(self.sources[name])])
        for name in preloaded:
            self.farm.ask("resume_source", name=name)
        self.began = time.monotonic()
        self._note("phase", name="began", at=time.time())
        for name in preloaded:
            if name in self.files:
                self.farm.ask("run", source=name)
        arriving = (_arrivals(s.name, self._jobs(s)) for s in self.scenario.sources if not s.preload)
        due = heapq.merge(*arriving, key=lambda entry: entry[:3])
        for at, entries in _together(due):
            if self._is_late(at):
                return
            time.sleep(max(0.0, at - self._now()))
            for name, jobs in entries.items():
                self._send_all(name, jobs)

    def _jobs(self, source: Source) -> Iterator[tuple[float, dict[str, Any]]]:
        """Of a folder, its files stand for jobs; what hangs learns where the witness is."""
        made = files(source.folder.kind, f"{self.scenario.seed} {source.name}") if source.folder else None
        for at, job in source.jobs(self.scenario.seed):
            if made is not None:
                name, content = next(made)
                yield at, {"name": name, "content": content}
            else:
                if job.get("data", {}).get("fault") == "hang":
                    job["data"]["witness"] = str(self._witness_path)
                yield at, job

    def _now(self) -> float:
        return time.monotonic() - self.began

    def _is_late(self, at: float) -> bool:
        return self.scenario.run_s is not None and max(at, self._now()) > self.scenario.run_s

    def _send_all(self, name: str, jobs: list[dict[str, Any]]) -> None:
        if name in self.files:
            self._write_all(name, jobs)
            return
        source = self.sources[name]
        size = source.arrival.at_once
        for start in range(0, len(jobs), size):
            some = jobs[start : start + size]
            sent = time.time()
            answer = self.farm.ask("submit", source=name, jobs=some, priority=LEVELS[source.priority])
            self._note(
                "submit", source=name, run=answer["run_id"], jobs=len(some), sent=sent, answered=time.time()
            )

    def _write_all(self, name: str, made: list[dict[str, Any]]) -> None:
        for file in made:
            (self.folders / name / file["name"]).write_bytes(file["content"])
            self._note("file", source=name, key=file["name"], at=time.time(), bytes=len(file["content"]))
            self.files[name] += 1

    def _wait(self) -> None:
        if self.scenario.run_s is not None:
            time.sleep(max(0.0, self.scenario.run_s - self._now()))
            return
        for name, written in self.files.items():
            seen = partial(self._has_read, name, written)
            until(seen, self.scenario.most_s, f"all files of {name} are read", every_s=0.1)
        until(lambda: self.farm.open_jobs() == 0, self.scenario.most_s, "all jobs are over", every_s=0.02)

    def _has_read(self, name: str, written: int) -> bool:
        return self.farm.read_files(name) >= written

    # -- the farm's own death

    def _kill(self) -> None:
        """Each time: so many in flight, SIGKILL, started again, and how soon it works.

        Before the next time all jobs are done, and the sources are measured anew: long jobs would go in short
        launches, and less would be in flight.
        """
        asked = self.scenario.kill
        if asked is None:
            return
        for n in range(asked.times):
            if n:
                self._wait()
                self._measure_sources(n)
                for source in self.scenario.sources:
                    again = [{**job, "key": f"{n}-{job['key']}"} for _, job in self._jobs(source)]
                    self.farm.ask("pause_source", name=source.name)
                    self._send_all(source.name, again)
                    self.farm.ask("resume_source", name=source.name)
            until(lambda: self._running() >= asked.in_flight, 60, f"{asked.in_flight} jobs are in flight")
            with self._restarting:
                self._restart()

    def _restart(self) -> None:
        killed = time.time()
        self.farm.kill()
        running, newest, started = self._running(), self.farm.last_attempt(), time.time()
        self.farm.start()
        answered = time.time()
        until(lambda: self.farm.last_attempt() > newest, 60, "a job is leased again", every_s=0.001)
        moments = {"killed": killed, "started": started, "answered": answered, "leased": time.time()}
        self._note("restart", in_flight=running, cpu_s=self.farm.usage()["cpu_s"], **moments)

    def _running(self) -> int:
        return sum(states.get("running", 0) for states in self.farm.counts().values())

    # -- watch

    def _watch(self) -> None:
        asked = 0.0
        while not self._over.is_set():
            with self._restarting:
                self._sample()
                if self.scenario.probes.status and time.monotonic() - asked >= STATUS_S:
                    asked = time.monotonic()
                    self._ask_status()
            self._over.wait(SAMPLE_S)

    def _sample(self) -> None:
        counts: dict[str, int] = defaultdict(int)
        for states in self.farm.counts().values():
            for state, n in states.items():
                counts[state] += n
        self._note("sample", at=time.time(), jobs=dict(counts), **self.farm.usage())

    def _ask_status(self) -> None:
        status = self.farm.ask("status_live")
        holds = [{"source": h["source"], "reason": h["reason"]} for h in status["holds"]]
        self._note("status", at=time.time(), budget=status["budget"], holds=holds, landing=status["landing"])


Due = tuple[float, str, int, dict[str, Any]]


def _arrivals(name: str, jobs: Iterator[tuple[float, dict[str, Any]]]) -> Iterator[Due]:
    return ((at, name, n, job) for n, (at, job) in enumerate(jobs))


def _together(due: Iterator[Due]) -> Iterator[tuple[float, dict[str, list[dict[str, Any]]]]]:
    """What is due at the same moment goes in one request of each source."""
    for at, same in groupby(due, key=lambda entry: entry[0]):
        entries: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for _, name, _, job in same:
            entries[name].append(job)
        yield at, entries
