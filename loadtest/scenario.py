"""A scenario: what is asked of the farm, read from TOML. pydantic stands at the edge; unknown keys are errors.

name = "fairness"
about = "…"
run_s = 30                   # stop after so long; without it, when all is done
[farm]
workers = 2
[[sources]]
name = "a"
weight = 1
arrival = { pacer = "burst", size = 1000, count = 1000 }
job = { wall_s = { kind = "lognormal", median = 0.02, sigma = 0.5 }, cpu = 0.5 }
faults = { crash = 0.01 }    # shares of the jobs
profile = { batch = 32 }     # as in farm.toml
[[sources]]
name = "files"
folder = { watch = true }    # each arrival is a real file, which local_files reads
arrival = { pacer = "constant", rate = 5, count = 100 }
"""

from __future__ import annotations

import difflib
import math
import random
import tomllib
from collections.abc import Iterator
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from farm.errors import FarmError, did_you_mean
from loadtest import pacer

FOLDER = Path(__file__).with_name("scenarios")


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Spread(_Table):
    """A distribution of lengths or sizes."""

    kind: Literal["fixed", "uniform", "exponential", "lognormal"] = "fixed"
    value: float = 0.0
    """fixed"""
    low: float = 0.0
    high: float = 0.0
    mean: float = 0.0
    """exponential"""
    median: float = 0.0
    sigma: float = 0.5
    """lognormal"""

    def draw(self, chance: random.Random) -> float:
        match self.kind:
            case "uniform":
                return chance.uniform(self.low, self.high)
            case "exponential":
                return chance.expovariate(1 / self.mean)
            case "lognormal":
                return self.median * math.exp(chance.gauss(0, self.sigma))
        return self.value


class Arrival(_Table):
    """When a source's jobs come. It ends after `count` jobs or `for_s` seconds."""

    pacer: Literal["burst", "constant", "ramp", "sine", "poisson"] = "burst"
    count: int = 1
    for_s: float = math.inf
    start_s: float = 0.0
    size: int = 0
    """burst; 0: all at once."""
    every_s: float = 0.0
    rate: float = 1.0
    end_rate: float = 1.0
    over_s: float = 10.0
    amplitude: float = 0.5
    period_s: float = 10.0
    at_once: int = Field(default=5_000, ge=1, le=100_000)
    """Most jobs in one request."""

    def moments(self, chance: random.Random) -> Iterator[float]:
        """Seconds from the start of the scenario."""
        match self.pacer:
            case "constant":
                paced = pacer.constant(self.rate)
            case "ramp":
                paced = pacer.ramp(self.rate, self.end_rate, self.over_s)
            case "sine":
                paced = pacer.sine(self.rate, self.amplitude, self.period_s)
            case "poisson":
                paced = pacer.poisson(self.rate, chance)
            case _:
                paced = pacer.burst(self.size or self.count, self.every_s)
        within = takewhile(lambda at: at <= self.for_s, islice(paced, self.count))
        return (self.start_s + at for at in within)


class Job(_Table):
    """What a job does: takes `wall_s`, a share `cpu` of it computing, holding `memory_bytes`."""

    wall_s: Spread = Spread()
    cpu: float = 0.0
    memory_bytes: Spread = Spread()
    document_bytes: Spread = Spread()
    """Text that it lands; 0: nothing."""
    children: int = 0
    """Processes of its own that a job which hangs leaves behind it, each in a session of its own."""


class Faults(_Table):
    """Shares of the jobs that misbehave."""

    fail: float = 0.0
    invalid: float = 0.0
    crash: float = 0.0
    hang: float = 0.0
    once: float = 0.0
    """Fails at the first attempt only."""


class Folder(_Table):
    """A folder of real files instead of jobs that are submitted."""

    kind: Literal["mixed", "notes"] = "mixed"
    """mixed: text, HTML, code, tables, mail, Office, PDF; notes: Markdown only."""
    watch: bool = False
    """The farm sees the files by itself; else it is asked to run once all are there (preload)."""


class Source(_Table):
    name: str
    folder: Folder | None = None
    weight: float = 1.0
    priority: Literal["low", "normal", "high"] = "normal"
    arrival: Arrival = Arrival()
    job: Job = Job()
    faults: Faults = Faults()
    preload: bool = False
    """Paused until all its jobs are in."""
    warm: int = 0
    """So many no-op jobs first, so that the farm has measured the source before the others come."""
    profile: dict[str, Any] = {}
    retry: dict[str, Any] = {}

    def jobs(self, seed: str) -> Iterator[tuple[float, dict[str, Any]]]:
        """(seconds from the start, the job as `submit` takes it); the same for the same seed."""
        when, what = random.Random(f"{seed} {self.name} when"), random.Random(f"{seed} {self.name} what")
        for n, at in enumerate(self.arrival.moments(when)):
            job: dict[str, Any] = {"key": f"{seed}-{n}"}
            if data := self._work(what):
                job["data"] = data
            yield at, job

    def _work(self, chance: random.Random) -> dict[str, Any]:
        data: dict[str, Any] = {
            "wall_s": round(self.job.wall_s.draw(chance), 6),
            "memory_bytes": int(self.job.memory_bytes.draw(chance)),
            "document_bytes": int(self.job.document_bytes.draw(chance)),
        }
        if self.job.cpu:
            data["cpu"] = self.job.cpu
        lot = chance.random()
        for fault, share in self.faults.model_dump().items():
            if lot < share:
                data["fault"] = fault
                if fault == "hang":
                    data["children"] = self.job.children
                break
            lot -= share
        return {name: value for name, value in data.items() if value}


class LandingProbe(_Table):
    """The landing thread with a backlog, alone and beside searches in turns."""

    held: int = Field(default=50_000, ge=1)
    """Documents that the store has before."""
    documents: int = Field(default=12_000, ge=1)
    """To land in each round."""
    document_bytes: int = Field(default=3_000, ge=1)
    rounds: int = Field(default=4, ge=1)
    """Of each."""
    searches_per_s: float = Field(default=25.0, gt=0)
    """Of all kinds together."""


class Probes(_Table):
    """What is measured beside the jobs."""

    idle_s: float = 0.0
    """The farm's CPU and memory with nothing to do, before the first job comes."""
    cli: int = 0
    """How many times each command is timed."""
    ledger: list[int] = []
    """Depths of the queue at which the ledger's work per job is timed."""
    depth: list[int] = []
    """Depths of the queue at which whole farms are compared, in turn."""
    rounds: int = 5
    landing: LandingProbe | None = None
    status: bool = True
    """Ask the farm for its status every second."""


class Kill(_Table):
    """SIGKILL for the farm once so many jobs are running; then it is started again."""

    in_flight: int
    times: int = 1


class SlowStore(_Table):
    """The store's file is locked for `held_s` of every `every_s`: landing gets what is left."""

    held_s: float
    every_s: float


class Goal(_Table):
    """A figure of the report and its bound; from issue to report, so that none has to remember."""

    figure: str
    at_least: float | None = None
    at_most: float | None = None


class Scenario(_Table):
    name: str
    about: str = ""
    farm: dict[str, Any] = {"workers": 2}
    sources: list[Source] = []
    run_s: float | None = None
    most_s: float = 600.0
    """The driver gives up after so long."""
    seed: str = "1"
    takes_s: float = 0.0
    """About how long it takes, for whoever waits."""
    named_only: bool = False
    """Too long for `all`."""
    probes: Probes = Probes()
    kill: Kill | None = None
    slow_store: SlowStore | None = None
    goals: list[Goal] = []


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str) -> Scenario:
    """A scenario of ours by its name, or one in a file; a FarmError says what is wrong with it."""
    if not name.endswith(".toml") and name not in names():
        close = difflib.get_close_matches(name, [*names(), "all"])
        raise FarmError(
            f"there is no scenario {name!r}{did_you_mean(close) or ': python -m loadtest list names them'}"
        )
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    try:
        return Scenario.model_validate(tomllib.loads(path.read_text()))
    except OSError as error:
        raise FarmError(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FarmError(f"{path} is not TOML: {error}") from None
    except ValidationError as error:
        wrong = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise FarmError(f"{path} is not a scenario: {'; '.join(wrong)}") from None
