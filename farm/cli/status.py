"""`farm status`: one look at everything. It answers within 150 ms, so nothing heavy is imported here."""

from __future__ import annotations

import time
from typing import Any

import click

from farm.cli import facts, in_force, show
from farm.cli.app import App, pass_app
from farm.cli.command import command, format_option
from farm.errors import FarmError
from farm.home import owner
from farm.ledger import views
from farm.words import plural, size, span, when


@command(examples=["farm status", "farm status --format json", "watch -n 2 farm status"])
@format_option
@pass_app
def status(app: App) -> None:
    """Show what the farm is doing: jobs per state, cells, budget, sources."""
    found = _collect(app)
    if app.json:
        show.as_json(found)
    else:
        _print(app, found, time.time())


def _collect(app: App) -> dict[str, Any]:
    pid = owner(app.home)
    try:
        live = app.live() if pid else None
        state = "stopped" if pid is None else "running" if live else "starting"
    except FarmError:
        live, state = None, "unresponsive"
    db = views.connect(app.home)
    said = live or {}
    return {
        "farm": {
            "state": "stopping" if said.get("stopping") else state,
            "pid": pid,
            "home": str(app.home.absolute()),
            "config": str(app.config.absolute()),
            "config_error": in_force.fault(app),
            "started_at": said.get("started_at"),
            "pressed": said.get("pressed", ""),
        },
        "jobs": views.job_counts(db),
        "cells": [_since(cell, time.monotonic()) for cell in said.get("cells", [])],
        "budget": said.get("budget"),
        "holds": said.get("holds", []),
        "webhooks": said.get("webhooks"),
        "sources": facts.sources(app, db),
    }


def _since(cell: dict[str, Any], now: float) -> dict[str, Any]:
    """The cell with how long its job has been running, which means more to others than our monotonic clock."""
    began = cell.pop("job_started", None)
    return cell | {"job_held_s": None if began is None else round(now - began, 3)}


def _print(app: App, found: dict[str, Any], now: float) -> None:
    farm = found["farm"]
    since = f" for {span(now - farm['started_at'])}" if farm["started_at"] else ""
    pid = f" (process {farm['pid']})" if farm["pid"] else ""
    jobs = ", ".join(f"{n:,} {state}" for state, n in found["jobs"].items() if n)
    rows = [("farm", f"{farm['state']}{since}{pid}, {farm['home']}"), ("jobs", jobs or "none yet")]
    if farm["pressed"]:
        rows.append(("pressed", farm["pressed"]))
    if found["budget"]:
        rows.append(("budget", _budget(found["budget"])))
    if found["webhooks"]:
        rows.append(("webhooks", _webhooks(found["webhooks"])))
    show.aligned(rows)
    if found["cells"]:
        click.echo()
        show.aligned(
            [("CELL", "STATE", "SOURCE", "JOB", "SINCE", "MEMORY", "PROGRESS"), *map(_cell, found["cells"])]
        )
    for hold in found["holds"]:
        click.echo(show.printable(f"held: {hold.get('source', '')}: {hold.get('sentence', '')}"))
    if wrong := farm["config_error"] or in_force.unread(app):
        click.echo(f"\n{show.printable(wrong)}")
    if found["sources"]:
        click.echo()
        heads = (
            "SOURCE",
            "STATE",
            "RUNS",
            "PENDING",
            "RUNNING",
            "RETRYING",
            "QUARANTINED",
            "DONE",
            "LAST RUN",
            "NEXT",
        )
        show.aligned([heads, *(_source(row, now) for row in found["sources"])])
        for row in found["sources"]:
            if row["degraded"]:
                click.echo(show.printable(f"{row['name']}: {row['degraded']}"))
    elif not farm["config_error"]:
        click.echo(f"no sources yet: add a folder with `{app.say('add FOLDER')}`")


def _webhooks(heard: dict[str, Any]) -> str:
    counts = ", ".join(f"{n:,} {word}" for word, n in heard["deliveries"].items())
    return f"{heard['host']} port {heard['port']}, {counts or 'nothing heard yet'}"


def _budget(budget: dict[str, Any]) -> str:
    cpu = f"{budget.get('cpu_held', 0):.1f} of {budget['cpu']:.1f} cores"
    memory = f"{size(budget.get('memory_held_bytes', 0))} of {size(budget['memory_bytes'])}"
    return f"{cpu}, {memory}, {budget.get('cells_held', 0)} of {plural(budget['cells'], 'cell')}"


def _cell(cell: dict[str, Any]) -> tuple[str, ...]:
    held = cell.get("job_held_s")
    done, total = cell.get("done"), cell.get("total")
    progress = "" if not done else f"{done:,} of {total:,}" if total else f"{done:,}"
    return (
        str(cell.get("number", "")),
        str(cell.get("state", "")),
        cell.get("source") or "",
        str(cell.get("job_id") or ""),
        span(held) if held is not None else "",
        size(cell.get("memory_bytes")),
        f"{progress} {cell.get('message') or ''}".strip(),
    )


def _source(row: dict[str, Any], now: float) -> tuple[object, ...]:
    jobs, last = row["jobs"], row["last_run"]
    ended = f"{last['state']} {when(last['finished_at'] or last['requested_at'], now)}" if last else "never"
    counts = [jobs[s] or "-" for s in ("pending", "running", "retrying", "quarantined", "succeeded")]
    return (
        row["name"],
        row["state"],
        facts.schedule(row),
        *counts,
        ended,
        when(row["next_run_at"], now) or "-",
    )
