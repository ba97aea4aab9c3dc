"""Records made by hand: what a driver would have written."""

from loadtest.record import Record
from loadtest.scenario import Scenario

GB = 1_000_000_000
MACHINE = {
    "cores": 2, "memory_bytes": 24 * GB, "python": "3.11", "sqlite": "3.40", "kernel": "6", "load": 0.5
}  # fmt: skip


def source(name="a", **fields):
    return {"name": name, "arrival": {"count": 1}, **fields}


def record(*events, sources=("a",), **scenario):
    """A record from (type, fields) pairs; a source may be given by its name."""
    asked = {
        "name": "made",
        "about": "Made by hand.",
        "takes_s": 1,
        "sources": [source(s) if isinstance(s, str) else s for s in sources],
        **scenario,
    }
    meta = {
        "type": "meta",
        "scenario": Scenario.model_validate(asked).model_dump(mode="json"),
        "machine": MACHINE,
        "at": 1000.0,
    }
    return Record.of([meta, *({"type": type_, **fields} for type_, fields in events)])


def job(id_, source="a", *, created=0.0, state="succeeded", priority=1, run=1, key=None):
    return "job", {
        "id": id_, "run": run, "source": source, "stage": "extract", "key": key or f"k{id_}", "priority": priority,
        "state": state, "attempts": 1, "deaths": 0, "reason": "", "created_at": created,
    }  # fmt: skip


def attempt(id_, job, leased, wall_s=1.0, *, started=None, ended=None, outcome="succeeded", launch=None):
    started = leased if started is None else started
    return "attempt", {
        "id": id_, "job": job, "launch": launch or id_, "cpu": 0.5, "memory_bytes": 64_000_000, "leased": leased,
        "started": started, "ended": started + (wall_s or 0) if ended is None else ended, "outcome": outcome,
        "wall_s": wall_s, "cpu_s": 0.1, "memory_peak_bytes": 30_000_000,
    }  # fmt: skip


def sample(at, cpu_s=0.0, memory=50_000_000, **jobs):
    return "sample", {
        "at": at, "jobs": jobs, "cpu_s": cpu_s, "memory_bytes": memory, "children_bytes": 2 * memory,
        "children_cpu_s": at * 0.3, "driver_cpu_s": 0.0, "machine_cpu_s": at * 0.9 + cpu_s,
    }  # fmt: skip


def status(at, *reasons, landing=0):
    budget = {"cpu": 2.0, "memory_bytes": GB, "cells": 2}
    holds = [{"source": "a", "reason": reason} for reason in reasons]
    return "status", {"at": at, "budget": budget, "holds": holds, "landing": landing}


def phases(began=0.0, over=10.0):
    return [("phase", {"name": "began", "at": began}), ("phase", {"name": "over", "at": over})]
