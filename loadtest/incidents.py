"""What went wrong on purpose, in figures: kills, retries, restarts, inversions, files, growth. Pure functions of
the record; each figure is there when its scenario has what it is made of."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from farm.quantities import seconds
from loadtest.figures import firsts, over_at, quantile, rise, spread
from loadtest.record import Event, Record

KILLED = frozenset({"timed_out", "stalled", "out_of_memory", "crashed"})
LEVELS = {"low": 0, "normal": 1, "high": 2}
TOLERANCE_S = 0.02
"""Whoever came within so long before a lease may have missed its transaction."""
AGEING_S = 30.0
"""A class that waited so long may go before a higher one, by design."""

Interval = tuple[float, float]
Figures = dict[str, dict[str, Any]]


def told(record: Record, scenario: Event) -> Figures:
    """All of them, by name."""
    jobs = {job["id"]: job for job in record["job"]}
    found: Figures = {}
    for name, unit, values in _values(record, scenario, jobs):
        if values:
            found[name] = {"unit": unit, **spread(values)}
    return found


def _values(
    record: Record, scenario: Event, jobs: Mapping[int, Event]
) -> Iterator[tuple[str, str, list[float]]]:
    attempts = record["attempt"]
    yield from _starts(record["submit"], jobs, attempts)
    yield from _states(jobs.values())
    asked = {s["name"]: s for s in scenario["sources"]}
    late = gone_late_ms(record["gone"], jobs, attempts, asked)
    yield "kill.gone_ms", "ms", late
    yield "kill.gone.p99_ms", "ms", [quantile(late, 0.99)] if late else []
    near, otherwise = delays_ms(jobs, attempts, asked, kills(attempts))
    for name, values in (("near_kills", near), ("otherwise", otherwise)):
        yield f"delay.{name}_ms", "ms", values
        yield f"delay.{name}.p99_ms", "ms", [quantile(values, 0.99)] if values else []
    yield from _retries(record, jobs, asked)
    yield from _restarts(record["restart"])
    if len({source["priority"] for source in asked.values()}) > 1:
        inverted, launches = inversions(jobs, attempts, waits_of(jobs, attempts))
        yield "priority.inversions_percent", "%", [inverted / launches * 100] if launches else []
    yield from _files(record, jobs)
    yield from _growth(record, jobs)


def _starts(
    submits: Iterable[Event], jobs: Mapping[int, Event], attempts: Iterable[Event]
) -> Iterator[tuple[str, str, list[float]]]:
    """Per source, of jobs that came alone: from before the request was sent until the connector started. And of
    all of them the parts: until the job was in the ledger, until its lease, until its start."""
    sent = {s["run"]: s["sent"] for s in submits if s["jobs"] == 1}
    waited: dict[str, list[float]] = defaultdict(list)
    parts: dict[str, list[float]] = defaultdict(list)
    for attempt in firsts(attempts).values():
        job = jobs[attempt["job"]]
        if job["run"] in sent:
            moments = (sent[job["run"]], job["created_at"], attempt["leased"], attempt["started"])
            waited[job["source"]].append((moments[-1] - moments[0]) * 1000)
            for name, (before, after) in zip(("ledger", "lease", "start"), pairwise(moments), strict=True):
                parts[name].append((after - before) * 1000)
    for source, values in waited.items():
        yield f"start.{source}_ms", "ms", values
        yield f"start.{source}.p99_ms", "ms", [quantile(values, 0.99)]
    for name, values in parts.items():
        yield f"latency.to_{name}_ms", "ms", values


def _states(jobs: Iterable[Event]) -> Iterator[tuple[str, str, list[float]]]:
    for (source, state), n in sorted(Counter((job["source"], job["state"]) for job in jobs).items()):
        yield f"states.{source}.{state}", "jobs", [float(n)]


# -- kills


def kills(attempts: Iterable[Event]) -> list[Interval]:
    """From the end of a worker until it was settled, of each attempt whose worker was ended or died."""
    return [(over_at(a), a["ended"]) for a in attempts if a["outcome"] in KILLED and a["ended"]]


def gone_late_ms(
    gone: Iterable[Event], jobs: Mapping[int, Event], attempts: Iterable[Event], asked: Mapping[str, Event]
) -> list[float]:
    """From the deadline until the last process of the job's tree was gone."""
    deadline: dict[str, float] = {}
    for attempt in attempts:
        job = jobs[attempt["job"]]
        if attempt["outcome"] == "timed_out":
            limit = asked[job["source"]]["profile"].get("timeout")
            deadline[job["key"]] = attempt["started"] + seconds(limit)
    return [(g["at"] - deadline[g["key"]]) * 1000 for g in gone if g["key"] in deadline]


def delays_ms(
    jobs: Mapping[int, Event],
    attempts: Iterable[Event],
    asked: Mapping[str, Event],
    windows: Sequence[Interval],
) -> tuple[list[float], list[float]]:
    """How much longer than asked for jobs of a fixed length took: those that ran while something was killed,
    and the others. Only sources whose jobs do nothing but wait count; without a kill, nothing does."""
    steady = {name: source["job"]["wall_s"]["value"] for name, source in asked.items() if _only_waits(source)}
    near: list[float] = []
    otherwise: list[float] = []
    if not windows:
        return near, otherwise
    merged = merge(windows)
    for attempt in attempts:
        source = jobs[attempt["job"]]["source"]
        if source in steady and attempt["outcome"] == "succeeded" and attempt["wall_s"]:
            late = (attempt["wall_s"] - steady[source]) * 1000
            is_near = touches(merged, attempt["started"], attempt["started"] + attempt["wall_s"])
            (near if is_near else otherwise).append(late)
    return near, otherwise


def _only_waits(source: Event) -> bool:
    job = source["job"]
    still = all(job[part]["kind"] == "fixed" for part in ("wall_s", "memory_bytes", "document_bytes"))
    works = job["cpu"] or job["memory_bytes"]["value"] or job["document_bytes"]["value"]
    return bool(still and job["wall_s"]["value"] and not works and not any(source["faults"].values()))


def merge(intervals: Iterable[Interval]) -> list[Interval]:
    """The same moments, without overlaps, in order.

    >>> merge([(4, 5), (1, 3), (2, 3.5)])
    [(1, 3.5), (4, 5)]
    """
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def touches(merged: Sequence[Interval], start: float, end: float) -> bool:
    """Whether one of the intervals (merged) has a moment in [start, end].

    >>> touches([(1, 2), (5, 6)], 2.5, 4), touches([(1, 2), (5, 6)], 2.5, 5.5)
    (False, True)
    """
    n = bisect_right(merged, end, key=lambda interval: interval[0])
    return n > 0 and merged[n - 1][1] >= start


# -- retries


def _retries(
    record: Record, jobs: Mapping[int, Event], asked: Mapping[str, Event]
) -> Iterator[tuple[str, str, list[float]]]:
    retrying = [s["jobs"].get("retrying", 0) for s in record["sample"]]
    deepest = max(retrying, default=0)
    if not deepest:
        return
    yield "retry.deepest", "jobs", [float(deepest)]
    resting = [s for s, n in zip(record["sample"], retrying, strict=True) if n == deepest]
    if len(resting) > 2 and deepest > 1:
        share = rise(s["cpu_s"] for s in resting) / (resting[-1]["at"] - resting[0]["at"]) * 100
        yield "retry.resting_cpu_percent", "% of a core", [share]
    late = retries_late_ms(jobs, record["attempt"], asked)
    yield "retry.late_ms", "ms", late
    yield "retry.late.p99_ms", "ms", [quantile(late, 0.99)] if late else []


def retries_late_ms(
    jobs: Mapping[int, Event], attempts: Iterable[Event], asked: Mapping[str, Event]
) -> list[float]:
    """From the due time of a second attempt to its lease, where the retry policy fixes that time."""
    base = {
        name: seconds(source["retry"]["base"])
        for name, source in asked.items()
        if source["retry"].get("strategy") == "fixed" and source["retry"].get("jitter") == 0
    }
    late: list[float] = []
    before: dict[int, Event] = {}
    for attempt in attempts:
        source = jobs[attempt["job"]]["source"]
        if source in base:
            if (failed := before.get(attempt["job"])) is not None and failed["ended"]:
                late.append((attempt["leased"] - failed["ended"] - base[source]) * 1000)
            before[attempt["job"]] = attempt
    return late


# -- the farm's own death


def _restarts(restarts: Sequence[Event]) -> Iterator[tuple[str, str, list[float]]]:
    yield "restart.in_flight", "jobs", [float(r["in_flight"]) for r in restarts]
    yield "restart.answers_ms", "ms", [(r["answered"] - r["started"]) * 1000 for r in restarts]
    yield "restart.cpu_ms", "ms of CPU", [r["cpu_s"] * 1000 for r in restarts]
    yield "restart.working_ms", "ms", [(r["leased"] - r["started"]) * 1000 for r in restarts]


# -- priority


def waits_of(jobs: Mapping[int, Event], attempts: Iterable[Event]) -> dict[int, list[Interval]]:
    """By level of priority: from when a job could have been leased to its first lease."""
    waits: dict[int, list[Interval]] = defaultdict(list)
    for id_, first in firsts(attempts).items():
        came = jobs[id_]["created_at"] + TOLERANCE_S
        if came < first["leased"]:
            waits[jobs[id_]["priority"]].append((came, first["leased"]))
    return waits


def inversions(
    jobs: Mapping[int, Event], attempts: Iterable[Event], waits: Mapping[int, Sequence[Interval]]
) -> tuple[int, int]:
    """(launches that began while a job of a higher class waited, all launches). What ageing lifts is left out."""
    above = {
        level: merge(i for higher, some in waits.items() if higher > level for i in some)
        for level in LEVELS.values()
    }
    seen: set[int] = set()
    inverted = 0
    for attempt in attempts:
        if attempt["launch"] in seen:
            continue
        job = jobs[attempt["job"]]
        if attempt["leased"] - job["created_at"] >= AGEING_S:
            continue
        seen.add(attempt["launch"])
        inverted += waited(above[job["priority"]], attempt["leased"])
    return inverted, len(seen)


def waited(merged: Sequence[Interval], at: float) -> bool:
    """Whether the moment lies inside one of the intervals; their ends, the leases themselves, do not count.

    >>> waited([(1, 3)], 2), waited([(1, 3)], 3), waited([(1, 3)], 1)
    (True, False, False)
    """
    n = bisect_right(merged, at, key=lambda interval: interval[0])
    return n > 0 and merged[n - 1][0] < at < merged[n - 1][1]


# -- files and documents


def _files(record: Record, jobs: Mapping[int, Event]) -> Iterator[tuple[str, str, list[float]]]:
    """From the file's last byte until it could be found by a search: its job was settled after it had landed."""
    if record["file"]:
        took, missing = searchable_s(record["file"], jobs, record["attempt"])
        yield "files.missing", "files", [float(missing)]
        for source, values in took.items():
            yield f"files.{source}_s", "s", values
            yield f"files.{source}.p95_s", "s", [quantile(values, 0.95)]
    landing = _landing(record)
    wanted = sum(
        a["outcome"] == "succeeded" and jobs[a["job"]]["source"] in landing for a in record["attempt"]
    )
    if wanted and record["stored"]:
        yield "documents.missing", "documents", [float(wanted - record["stored"][0]["documents"])]


def searchable_s(
    files: Iterable[Event], jobs: Mapping[int, Event], attempts: Iterable[Event]
) -> tuple[dict[str, list[float]], int]:
    """(seconds by source, how many files never came)."""
    done: dict[tuple[str, str], float] = {}
    for attempt in attempts:
        job = jobs[attempt["job"]]
        if attempt["outcome"] == "succeeded" and attempt["ended"]:
            done.setdefault((job["source"], job["key"]), attempt["ended"])
    took: dict[str, list[float]] = defaultdict(list)
    missing = 0
    for file in files:
        ended = done.get((file["source"], file["key"]))
        if ended is None:
            missing += 1
        else:
            took[file["source"]].append(ended - file["at"])
    return took, missing


def _landing(record: Record) -> set[str]:
    """Sources whose every job lands one document."""
    asked = {s["name"]: s["job"]["document_bytes"] for s in record.meta["scenario"]["sources"]}
    return {name for name, size in asked.items() if size["kind"] != "fixed" or size["value"]}


# -- growth


def _growth(record: Record, jobs: Mapping[int, Event]) -> Iterator[tuple[str, str, list[float]]]:
    """The last tenth of a run of ten minutes or more against an earlier one.

    Starts against the second tenth. Memory against the eighth: until then the page caches of ledger and store fill,
    which have a bound; what still grows after that has none.
    """
    samples = record["sample"]
    if len(samples) < 2 or samples[-1]["at"] - samples[0]["at"] < 600:
        return
    start, end = samples[0]["at"], samples[-1]["at"]
    sent = {s["run"]: s["sent"] for s in record["submit"] if s["jobs"] == 1}
    latency = [
        (jobs[id_]["created_at"], first["started"] - sent[jobs[id_]["run"]])
        for id_, first in firsts(record["attempt"]).items()
        if jobs[id_]["run"] in sent
    ]
    memory = [(s["at"], float(s["memory_bytes"])) for s in samples]
    for name, points, tenth in (("memory", memory, 7), ("start", latency, 1)):
        if (ratio := growth(points, start, end, tenth)) is not None:
            yield f"growth.{name}_percent", "%", [(ratio - 1) * 100]


def growth(points: Iterable[tuple[float, float]], start: float, end: float, tenth: int) -> float | None:
    """The median of the last tenth of the time, divided by that of another one, counted from 0.

    >>> growth([(15, 2.0), (18, 2.0), (95, 3.0)], 0, 100, 1)
    1.5
    """
    length = (end - start) / 10
    points = list(points)
    early = [value for at, value in points if start + tenth * length <= at < start + (tenth + 1) * length]
    late = [value for at, value in points if at >= end - length]
    return quantile(late, 0.5) / quantile(early, 0.5) if early and late else None
