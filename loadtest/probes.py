"""What is measured on its own, beside the jobs of a scenario: each a figure with all its values."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from farm.core.job import Ending, Outcome, RunType, Stage, Usage
from farm.ledger.jobs import NewJob
from farm.ledger.ledger import Ledger
from farm.settle import Settler
from farm.sources import departed
from loadtest.farmhouse import Farmhouse, environment, until
from loadtest.record import Event
from loadtest.scenario import Probes

BATCH = 1_024
IDLE_SETTLES_S = 2.0
COMMANDS = {
    "cli.help_ms": ["--help"],
    "cli.status_ms": ["status"],
    "cli.jobs_ms": ["jobs", "list", "--format", "json"],
}


def figure(name: str, unit: str, values: Sequence[float]) -> Event:
    return {"name": name, "unit": unit, "values": [round(value, 6) for value in values]}


def without_farm(asked: Probes, folder: Path) -> Iterator[Event]:
    if asked.ledger:
        yield from ledger_costs(folder, asked.ledger, asked.rounds)
    if asked.depth:
        yield from depth_rates(folder, asked.depth, asked.rounds)


def with_farm(asked: Probes, farm: Farmhouse) -> Iterator[Event]:
    if asked.idle_s:
        yield from idle_cost(farm, asked.idle_s)
    if asked.cli:
        yield from command_times(farm.home, asked.cli)


def idle_cost(farm: Farmhouse, for_s: float) -> Iterator[Event]:
    """CPU as a share of one core, and resident memory, of the farm process with nothing to do."""
    time.sleep(IDLE_SETTLES_S)
    seconds, shares, memory = max(1.0, for_s / 5), [], []
    for _ in range(5):
        before, began = farm.usage(), time.monotonic()
        time.sleep(seconds)
        after = farm.usage()
        shares.append((after["cpu_s"] - before["cpu_s"]) / (time.monotonic() - began) * 100)
        memory.append(after["memory_bytes"] / 1e6)
    yield figure("idle.cpu_percent", "% of a core", shares)
    yield figure("idle.memory_mb", "MB", memory)
    yield figure("idle.children_mb", "MB", [after["children_bytes"] / 1e6])


def command_times(home: Path, rounds: int) -> Iterator[Event]:
    """The commands, and what the interpreter alone takes: the floor of each."""
    times = timed(home, COMMANDS, rounds)
    yield figure("cli.python_ms", "ms", [_bare_python() for _ in range(rounds)])
    for name, values in times.items():
        yield figure(name, "ms", values)


def timed(home: Path, commands: Mapping[str, Sequence[str]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds from fork to exit, as a person waits for it; the commands take turns."""
    farm = Path(sys.executable).with_name("farm")
    argv = [str(farm)] if farm.exists() else [sys.executable, "-m", "farm.cli"]
    times: dict[str, list[float]] = {name: [] for name in commands}
    for round_ in range(rounds + 1):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run(
                [*argv, "--home", str(home), *command],
                check=True,
                capture_output=True,
                env=environment(),
                cwd=Path(__file__).resolve().parents[1],
            )
            if round_:  # the first one fills the page cache
                times[name].append((time.perf_counter() - began) * 1000)
    return times


def _bare_python() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return (time.perf_counter() - began) * 1000


# -- the ledger alone


def ledger_costs(folder: Path, depths: Sequence[int], rounds: int) -> Iterator[Event]:
    """Per job: submit, look at the heads, lease and settle (CPU), commit and the whole turn (wall), with so
    many waiting.

    The depths take turns, so that whatever else the machine does falls on all of them.
    """
    works = {depth: _LedgerWork(folder / f"ledger-{depth}.db", depth) for depth in depths}
    for depth, work in works.items():
        yield figure(f"ledger.{depth}.submit_per_s", "jobs/s", work.loaded)
    for _ in range(rounds):
        for work in works.values():
            work.round()
    for depth, work in works.items():
        for name, values in work.times.items():
            yield figure(f"ledger.{depth}.{name}_us", "µs/job", values)
        work.ledger.close()
    few, many = min(depths), max(depths)
    if few != many:
        for name in ("heads", "lease", "turn"):
            ratio = _median(works[many].times[name]) / _median(works[few].times[name])
            yield figure(f"ledger.deep_ratio.{name}", "x", [ratio])


class _LedgerWork:
    """What the dispatcher does for a launch of no-ops, without farm around it."""

    def __init__(self, path: Path, depth: int) -> None:
        self.ledger = Ledger.open(path)
        self.settler = Settler(self.ledger, departed, lambda: 0.5)
        self.times: dict[str, list[float]] = {
            name: [] for name in ("heads", "lease", "settle", "commit", "turn", "submit")
        }
        self.loaded: list[float] = []
        self._n = 0
        while self._n < depth:
            began, size = time.perf_counter(), min(5_000, depth - self._n)
            self.submit(size)
            self.loaded.append(size / (time.perf_counter() - began))

    def submit(self, jobs: int) -> None:
        if not jobs:
            return
        ledger = self.ledger
        with ledger.transaction():
            run = ledger.runs.create("deep", RunType.EVENT, "submit")
            assert run is not None
            new = [NewJob(Stage.EXTRACT, f"unit-{self._n + i}") for i in range(jobs)]
            ledger.jobs.submit(run, "deep", new, 1, cause="submitted")
            self._n += jobs

    def round(self, launches: int = 4) -> None:
        """Lease and settle launches, one commit each as in the dispatcher's tick; the depth stays."""
        spent = dict.fromkeys(self.times, 0.0)
        done: list[Ending] = []
        jobs = 0
        for n in range(launches + 1):
            began = time.perf_counter()
            with self.ledger.transaction():
                with _Busy(spent, "settle"):
                    self.settler.succeeded(done)
                done = self._lease(spent) if n < launches else []
                committing = time.perf_counter()
            spent["commit"] += time.perf_counter() - committing
            spent["turn"] += time.perf_counter() - began
            jobs += len(done)
            with _Busy(spent, "submit"):
                self.submit(len(done))
        for name, seconds in spent.items():
            self.times[name].append(seconds / jobs * 1e6)

    def _lease(self, spent: dict[str, float]) -> list[Ending]:
        with _Busy(spent, "heads"):
            heads = self.ledger.tickets.heads("deep", BATCH)
        with _Busy(spent, "lease"):
            specs = self.ledger.attempts.lease([h.job_id for h in heads], cpu=0.1, memory_bytes=1 << 26)
        now, used = time.time(), Usage(0.0001, 0.0001, 1 << 24)
        return [
            Ending(s.job_id, s.attempt_id, Outcome.SUCCEEDED, started_at=now, usage=used, pid=1)
            for s in specs
        ]


class _Busy:
    """Adds the CPU time of its block: what others do to the machine meanwhile does not count."""

    def __init__(self, spent: dict[str, float], name: str) -> None:
        self.spent, self.name = spent, name

    def __enter__(self) -> None:
        self.began = time.process_time()

    def __exit__(self, *_: object) -> None:
        self.spent[self.name] += time.process_time() - self.began


# -- whole farms at several depths


def depth_rates(folder: Path, depths: Sequence[int], rounds: int) -> Iterator[Event]:
    """No-op jobs a second of a whole farm with so many waiting; the farms take turns, each paused meanwhile."""
    source = {
        "connector": "loadtest.work:Work",
        "profile": {"cpu": 0.1, "memory": "64MB", "batch": BATCH, "max_concurrent": 2},
    }
    config: dict[str, Any] = {"farm": {"workers": 2}, "sources": {"deep": source}}
    farms = {depth: Farmhouse(folder / f"depth-{depth}", config) for depth in depths}
    rates: dict[int, list[float]] = {depth: [] for depth in depths}
    submits: dict[int, list[float]] = {depth: [] for depth in depths}
    answers: dict[int, list[float]] = {}
    try:
        for depth, farm in farms.items():
            farm.__enter__()
            farm.ask("pause_source", name="deep")
            submits[depth] = _fill(farm, depth, "load")
        for n in range(rounds + 1):
            for depth, farm in farms.items():
                rate, missing = _window(farm)
                submits[depth] += _fill(farm, missing, f"more{n}")
                if n:  # the first one only warms the cells
                    rates[depth].append(rate)
        for depth, farm in farms.items():
            yield figure(f"depth.{depth}.noop_per_s", "jobs/s", rates[depth])
            yield figure(f"depth.{depth}.submit_per_s", "jobs/s", submits[depth][-10:])
            yield figure(f"depth.{depth}.memory_mb", "MB", [farm.usage()["memory_bytes"] / 1e6])
            answers[depth] = timed(farm.home, {"status": COMMANDS["cli.status_ms"]}, rounds)["status"]
            yield figure(f"depth.{depth}.cli_status_ms", "ms", answers[depth])
        for depth, farm in farms.items():
            yield figure(f"depth.{depth}.restart_ms", "ms", [_restart(farm) for _ in range(3)])
    finally:
        for farm in farms.values():
            farm.stop()
    few, many = min(depths), max(depths)
    if few != many:
        yield figure("depth.slowdown", "x", [_median(rates[few]) / _median(rates[many])])
        submit = _median(submits[few][-10:]) / _median(submits[many][-10:])
        yield figure("depth.submit_slowdown", "x", [submit])
        yield figure("depth.status_slowdown", "x", [_median(answers[many]) / _median(answers[few])])


def _restart(farm: Farmhouse) -> float:
    """SIGKILL while it works; ms from the start of the next one to its first lease."""
    farm.ask("resume_source", name="deep")
    until(lambda: farm.counts()["deep"].get("running", 0) > 0, 30, "jobs run", every_s=0.002)
    farm.kill()
    newest, began = farm.last_attempt(), time.perf_counter()
    farm.start()
    until(lambda: farm.last_attempt() > newest, 60, "a job is leased", every_s=0.001)
    seconds = time.perf_counter() - began
    farm.ask("pause_source", name="deep")
    return seconds * 1000


def _fill(farm: Farmhouse, jobs: int, tag: str, size: int = 5_000) -> list[float]:
    rates = []
    for start in range(0, jobs, size):
        some = [{"key": f"{tag}-{i}"} for i in range(start, min(start + size, jobs))]
        began = time.perf_counter()
        farm.ask("submit", source="deep", jobs=some)
        rates.append(len(some) / (time.perf_counter() - began))
    return rates


def _window(farm: Farmhouse, for_s: float = 2.0) -> tuple[float, int]:
    """(jobs a second, jobs done) while the source runs for so long, and comes to rest."""
    before = _succeeded(farm)
    began = time.perf_counter()
    farm.ask("resume_source", name="deep")
    until(
        lambda: time.perf_counter() - began > for_s or farm.open_jobs() == 0, for_s + 5, "the window is over"
    )
    farm.ask("pause_source", name="deep")
    until(lambda: farm.counts()["deep"].get("running", 0) == 0, 30, "what runs is over", every_s=0.002)
    done = _succeeded(farm) - before
    return done / (time.perf_counter() - began), done


def _succeeded(farm: Farmhouse) -> int:
    return farm.counts()["deep"].get("succeeded", 0)


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
