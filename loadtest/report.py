"""The report: from the record alone. `build` gives what JSON holds; `show` prints it for a person."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from loadtest import figures, incidents
from loadtest.figures import quantile, spread
from loadtest.headline import headline
from loadtest.record import Event, Record


def build(record: Record) -> dict[str, Any]:
    """Everything that can be said of a record."""
    scenario = record.meta["scenario"]
    report: dict[str, Any] = {
        "scenario": scenario["name"],
        "about": scenario["about"],
        "at": record.meta["at"],
        "machine": record.meta["machine"],
        "figures": _figures(record),
    }
    if record["job"]:
        report |= _of_jobs(record, scenario)
        report["figures"] |= headline(report) | incidents.told(record, scenario)
    report["goals"] = [_goal(goal, report["figures"]) for goal in scenario["goals"]]
    return report


def _figures(record: Record) -> dict[str, dict[str, Any]]:
    return {
        event["name"]: {"unit": event["unit"], **spread(event["values"])}
        for event in record["figure"]
        if event["values"]
    }


def _of_jobs(record: Record, scenario: Event) -> dict[str, Any]:
    jobs = {job["id"]: job for job in record["job"]}
    source_of = {id_: job["source"] for id_, job in jobs.items()}
    attempts = record["attempt"]
    held = figures.spans(attempts, source_of)
    first = figures.firsts(attempts)
    began = next((p["at"] for p in record["phase"] if p["name"] == "began"), 0.0)
    ends = [a["ended"] for a in attempts if a["ended"] and a["outcome"] == "succeeded"]
    waiting = {event["source"]: event["jobs"] for event in record["waiting"]}
    fairness = _fairness(record, scenario, jobs, first, held, waiting)
    return {
        "submit": _submit(record["submit"]),
        "throughput": {
            "succeeded": len(ends),
            "per_s": figures.rate(ends, min((a["leased"] for a in attempts), default=None)),
            "per_second": figures.series((e for e in ends if e >= began), began),
        },
        "latency": _latency(record["submit"], jobs, first),
        "sources": _sources(scenario, jobs, first, held, waiting),
        "fairness": fairness,
        "cells_busy": fairness["busy"] if fairness else _busy(record, scenario, jobs, first, held, waiting),
        "budget": _budget(record, scenario, held),
        "outcomes": dict(Counter(a["outcome"] or "running" for a in attempts)),
        "states": dict(Counter(job["state"] for job in jobs.values())),
        "farm": _farm(record["sample"], len(ends)),
        "holds": dict(Counter(h["reason"] for s in record["status"] for h in s["holds"])),
    }


def _submit(submits: list[Event]) -> dict[str, Any]:
    """Rates of bulk requests: those of at least 1,000 jobs."""
    bulk = [s["jobs"] / (s["answered"] - s["sent"]) for s in submits if s["jobs"] >= 1_000]
    return {
        "requests": len(submits),
        "jobs": sum(s["jobs"] for s in submits),
        "bulk_per_s": spread(bulk) if bulk else None,
        "answer_ms": spread([(s["answered"] - s["sent"]) * 1000 for s in submits]) if submits else None,
    }


def _latency(submits: list[Event], jobs: dict[int, Event], first: dict[int, Event]) -> dict[str, Any]:
    """Of jobs that came alone: from before the request was sent until the connector started."""
    sent = {s["run"]: s["sent"] for s in submits if s["jobs"] == 1}
    ms = [
        (first[id_]["started"] - sent[job["run"]]) * 1000
        for id_, job in jobs.items()
        if job["run"] in sent and id_ in first
    ]
    return {"start_ms": {**spread(ms), "p95": quantile(ms, 0.95)}} if ms else {}


def _sources(
    scenario: Event,
    jobs: dict[int, Event],
    first: dict[int, Event],
    held: list[figures.Span],
    waiting: dict[str, int],
) -> list[dict[str, Any]]:
    rows = []
    for source in scenario["sources"]:
        name = source["name"]
        own = [job for job in jobs.values() if job["source"] == name]
        waits = [first[j["id"]]["leased"] - j["created_at"] for j in own if j["id"] in first]
        rows.append(
            {
                "name": name,
                "priority": source["priority"],
                "weight": source["weight"],
                "jobs": len(own) + waiting.get(name, 0),
                "begun": len(waits),
                "succeeded": sum(job["state"] == "succeeded" for job in own),
                "cell_s": sum(span.wall_s for span in held if span.source == name),
                "wait_s": {**spread(waits), "first": waits[0]} if waits else None,
            }
        )
    return rows


def _fairness(
    record: Record,
    scenario: Event,
    jobs: dict[int, Event],
    first: dict[int, Event],
    held: list[figures.Span],
    waiting: dict[str, int],
) -> dict[str, Any] | None:
    """Among the sources of one priority, while all of them had something waiting."""
    budget, over = _budget_of(record, scenario), _over(record)
    weights = {source["name"]: source["weight"] for source in scenario["sources"]}
    priorities = Counter(source["priority"] for source in scenario["sources"])
    usual = priorities.most_common(1)[0][0]
    competing = {source["name"] for source in scenario["sources"] if source["priority"] == usual}
    waits: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for id_, job in jobs.items():
        if job["source"] in competing and id_ in first:
            waits[job["source"]].append((job["created_at"], first[id_]["leased"]))
    for name in waiting:
        if name in waits:
            waits[name].append((over, over))  # jobs that still wait at the end
    cost = {
        i: span.share(budget["cpu"], budget["memory_bytes"], budget["cells"]) for i, span in enumerate(held)
    }
    found = figures.contest(held, waits, weights, cost)
    if found is None:
        return None
    return {
        "window_s": found.end - found.start,
        "jain": found.jain,
        "worst_share": found.worst,
        "got_s": found.got_s,
        "busy": figures.busy_share(held, found.start, found.end, budget["cells"]),
    }


def _busy(
    record: Record,
    scenario: Event,
    jobs: dict[int, Event],
    first: dict[int, Event],
    held: list[figures.Span],
    waiting: dict[str, int],
) -> float | None:
    """How much of the cells' time was taken from the start to the last lease; None where not all the time
    something waited for a cell."""
    start = next((p["at"] for p in record["phase"] if p["name"] == "began"), math.inf)
    waits = [(job["created_at"], first[id_]["leased"]) for id_, job in jobs.items() if id_ in first]
    end = min(max((leased for _, leased in waits), default=0.0), _over(record))
    if end - start < 1 or (not waiting and figures.covered(waits, start, end) < 0.99 * (end - start)):
        return None
    return figures.busy_share(held, start, end, _budget_of(record, scenario)["cells"])


def _over(record: Record) -> float:
    return next((float(p["at"]) for p in record["phase"] if p["name"] == "over"), math.inf)


def _budget_of(record: Record, scenario: Event) -> Event:
    """The largest the farm had: the memory may move while it runs."""
    seen = [status["budget"] for status in record["status"]]
    return {
        "cpu": max((b["cpu"] for b in seen), default=float(record.meta["machine"]["cores"])),
        "memory_bytes": max(
            (b["memory_bytes"] for b in seen), default=record.meta["machine"]["memory_bytes"]
        ),
        "cells": max((b["cells"] for b in seen), default=scenario["farm"].get("workers", 2)),
    }


def _budget(record: Record, scenario: Event, held: list[figures.Span]) -> dict[str, Any]:
    budget, most = _budget_of(record, scenario), figures.peak(held)
    return {
        "budget": budget,
        "peak": asdict(most),
        "launches": len(held),
        "exceeded": most.cpu > budget["cpu"] + 1e-6
        or most.memory_bytes > budget["memory_bytes"]
        or most.cells > budget["cells"],
    }


def _farm(samples: list[Event], done: int) -> dict[str, Any]:
    """What the farm took of the machine, and what others took meanwhile."""
    if len(samples) < 2:
        return {}
    seconds = samples[-1]["at"] - samples[0]["at"]
    used = {
        who: figures.rise(s[f"{who}_cpu_s"] for s in samples) for who in ("children", "driver", "machine")
    }
    farm_s = figures.rise(s["cpu_s"] for s in samples)
    return {
        "cpu_percent": farm_s / seconds * 100,
        "cpu_us_per_job": farm_s / done * 1e6 if done else math.nan,
        "children_cpu_us_per_job": used["children"] / done * 1e6 if done else math.nan,
        "others_cores": max(0.0, (used["machine"] - farm_s - used["children"] - used["driver"]) / seconds),
        "memory_mb": max(s["memory_bytes"] for s in samples) / 1e6,
        "children_mb": max(s["children_bytes"] for s in samples) / 1e6,
        "deepest": max(s["jobs"].get("pending", 0) for s in samples),
    }


def _goal(goal: Event, found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    value = found.get(goal["figure"], {}).get("median")
    at_least, at_most = goal["at_least"], goal["at_most"]
    met = (
        value is not None
        and (at_least is None or value >= at_least)
        and (at_most is None or value <= at_most)
    )
    return {**goal, "value": value, "met": met}


def whose_goals(report: Mapping[str, Any]) -> str:
    """Of a report with a goal that is not met: whose the goals are, and how busy the machine was; else nothing."""
    if all(goal["met"] for goal in report["goals"]):
        return ""
    machine, farm = report["machine"], report.get("farm")
    busy = f"other programs took {farm['others_cores']:.2f} of its {machine['cores']} cores" if farm else ""
    load = f"the load was {machine['load']:.1f} before"
    return (
        "goal of this scenario file, on a quiet machine with 2 cores; "
        f"on this one {f'{busy}, and {load}' if busy else load}"
    )
