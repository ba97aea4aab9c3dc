"""`farm jobs`: each piece of work, why it waits, what became of it."""

from __future__ import annotations

import time
from typing import Any

import click

from farm import control
from farm.cli import changes, in_force, show
from farm.cli.app import App, pass_app
from farm.cli.command import format_option, group, limit_option, source_option
from farm.errors import FarmError
from farm.ledger import views
from farm.ledger.explain import explain as explained
from farm.words import size, span, when

COLUMNS = (
    show.Column("JOB", "id", right=True),
    show.Column("RUN", "run_id", right=True),
    show.Column("SOURCE", "source"),
    show.Column("STAGE", "stage"),
    show.Column("KEY", "key", wrap=True),
    show.Column("STATE", "state"),
    show.Column("TRIED", "attempts_made", right=True),
    show.Column("OUTCOME", "outcome"),
    show.Column("DUE", show.ago("due_at")),
    show.Column("MESSAGE", "message", wrap=True),
)


@group(examples=["farm jobs list --state retrying", "farm jobs explain 812", "farm jobs retry 812"])
def jobs() -> None:
    """List, show, explain, cancel, retry, pause, resume jobs."""


@jobs.command(
    "list",
    examples=[
        "farm jobs list",
        "farm jobs list --state running",
        "farm jobs list --source notes --run 7 --format json",
    ],
)
@source_option
@click.option("--state", type=click.Choice(views.STATES), help="Only jobs in this state.")
@click.option("--stage", type=click.Choice(["discover", "extract"]), help="Only jobs of this stage.")
@click.option("--run", "run_id", type=int, metavar="ID", help="Only jobs of this run.")
@limit_option
@format_option
@pass_app
def list_(
    app: App, source: str | None, state: str | None, stage: str | None, run_id: int | None, limit: int | None
) -> None:
    """List jobs, the newest first."""
    db = app.ledger()
    if source:
        app.require_source(source)
    if run_id is not None:
        views.run(db, run_id)
    found = views.jobs(db, source=source, state=state, stage=stage, run_id=run_id, limit=limit)
    show.listing(found, COLUMNS, is_json=app.json, nothing="no jobs")


@jobs.command("show", examples=["farm jobs show 812", "farm jobs show 812 --format json"])
@click.argument("job_id", metavar="ID", type=int)
@format_option
@pass_app
def show_(app: App, job_id: int) -> None:
    """Show a job: its attempts, what they used, every change of its state."""
    found = views.job(app.ledger(), job_id)
    if app.json:
        show.as_json(found)
    else:
        describe(found, time.time())


@jobs.command(examples=["farm jobs explain 812"])
@click.argument("job_id", metavar="ID", type=int)
@format_option
@pass_app
def explain(app: App, job_id: int) -> None:
    """Say in one sentence why a job waits, or what became of it."""
    sentence = why(app, job_id)
    in_force.warn(app)
    if app.json:
        show.as_json({"id": job_id, "sentence": sentence})
    else:
        click.echo(f"job {job_id}: {show.printable(sentence)}")


def why(app: App, job_id: int) -> str:
    """The running farm's reason where it has one, else the ledger's."""
    db = app.ledger()
    job = views.job(db, job_id)
    running = control.answers(app.home)
    if running and job["state"] in ("pending", "retrying", "running"):
        try:
            said = str(control.call(app.home, "explain", job_id=job_id, timeout_s=5.0)["sentence"])
        except FarmError:
            said = ""  # it has just ended, or the job has: the ledger knows
        if said:
            return said
        job = views.job(db, job_id)
    source = views.sources(db, [job["source"]])[job["source"]]
    return explained(job, source, ahead=views.ahead(db, job_id), now=time.time(), running=running)


@jobs.command(examples=["farm jobs cancel 812 813", "farm jobs cancel --source notes"])
@changes.many
@format_option
@pass_app
def cancel(app: App, ids: tuple[int, ...], all_: bool, source: str | None) -> None:
    """Cancel jobs; one that runs is stopped."""
    changes.change(app, "cancel_jobs", "cancelled", ids, all_, source)


@jobs.command(examples=["farm jobs retry 812", "farm jobs retry --source notes", "farm jobs retry --all"])
@changes.many
@format_option
@pass_app
def retry(app: App, ids: tuple[int, ...], all_: bool, source: str | None) -> None:
    """Try jobs again now: those in quarantine, with a fresh budget, and those that wait for their time."""
    changes.change(app, "retry_jobs", "will be tried again", ids, all_, source)


@jobs.command(examples=["farm jobs pause 812", "farm jobs pause --source notes"])
@changes.many
@format_option
@pass_app
def pause(app: App, ids: tuple[int, ...], all_: bool, source: str | None) -> None:
    """Hold jobs back until you resume them."""
    changes.change(app, "pause_jobs", "paused", ids, all_, source)


@jobs.command(examples=["farm jobs resume 812", "farm jobs resume --all"])
@changes.many
@format_option
@pass_app
def resume(app: App, ids: tuple[int, ...], all_: bool, source: str | None) -> None:
    """Let paused jobs go on."""
    changes.change(app, "resume_jobs", "resumed", ids, all_, source)


def describe(job: dict[str, Any], now: float) -> None:
    """A job for people."""
    show.fields(
        [
            ("job", job["id"]),
            ("run", job["run_id"]),
            ("source", job["source"]),
            ("stage", job["stage"]),
            ("key", job["key"]),
            ("state", job["state"]),
            ("outcome", job["outcome"]),
            ("reason", job["reason"]),
            ("message", job["message"]),
            ("due", when(job["due_at"], now)),
            ("created", when(job["created_at"], now)),
        ]
    )
    if job["attempts"]:
        click.echo()
        show.aligned([_ATTEMPT_HEADS, *(_attempt(attempt, now) for attempt in job["attempts"])])
    click.echo()
    heads = ("WHEN", "FROM", "TO", "EVENT", "BY", "CAUSE")
    moves = [(when(t["at"], now), t["from_state"] or "-", t["to_state"], t["event"], t["actor"], t["cause"])
             for t in job["transitions"]]  # fmt: skip
    show.aligned([heads, *moves])


_ATTEMPT_HEADS = ("ATTEMPT", "STARTED", "OUTCOME", "TOOK", "CPU", "MEMORY", "EXIT", "MESSAGE")


def _attempt(attempt: dict[str, Any], now: float) -> tuple[str, ...]:
    ended = f"signal {attempt['signal']}" if attempt["signal"] else attempt["exit"]
    return (
        str(attempt["number"]),
        when(attempt["started_at"], now),
        attempt["outcome"] or "running",
        "" if attempt["wall_s"] is None else span(attempt["wall_s"]),
        "" if attempt["cpu_s"] is None else span(attempt["cpu_s"]),
        f"{size(attempt['memory_peak_bytes'])} of {size(attempt['memory_reserved_bytes'])}",
        "" if ended is None else str(ended),
        attempt["message"],
    )
