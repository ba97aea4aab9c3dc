"""`farm quarantine`: jobs that wait for a person, with the evidence."""

from __future__ import annotations

import time

import click

from farm.cli import changes, show
from farm.cli.app import App, pass_app
from farm.cli.command import format_option, group, limit_option, source_option
from farm.cli.jobs import describe
from farm.core.job import Reason
from farm.errors import NotFound
from farm.ledger import views

COLUMNS = (
    show.Column("JOB", "job_id", right=True),
    show.Column("SOURCE", "source"),
    show.Column("KEY", "key", wrap=True),
    show.Column("REASON", "reason"),
    show.Column("TRIED", "attempts_made", right=True),
    show.Column("SINCE", show.ago("quarantined_at")),
    show.Column("MESSAGE", "message", wrap=True),
)


@group(examples=["farm quarantine list", "farm quarantine show 812", "farm quarantine retry --source notes"])
def quarantine() -> None:
    """List, show, retry, discard jobs that wait for you."""


@quarantine.command(
    "list", examples=["farm quarantine list", "farm quarantine list --reason timeout --format json"]
)
@source_option
@click.option(
    "--reason", type=click.Choice([reason.value for reason in Reason]), help="Only for this reason."
)
@limit_option
@format_option
@pass_app
def list_(app: App, source: str | None, reason: str | None, limit: int | None) -> None:
    """List the jobs in quarantine, the newest first."""
    db = app.ledger()
    if source:
        app.require_source(source)
    found = views.quarantine(db, source=source, reason=reason, limit=limit)
    show.listing(found, COLUMNS, is_json=app.json, nothing="the quarantine is empty")


@quarantine.command("show", examples=["farm quarantine show 812"])
@click.argument("job_id", metavar="ID", type=int)
@format_option
@pass_app
def show_(app: App, job_id: int) -> None:
    """Show a job in quarantine with its evidence: traceback, last log lines, versions."""
    db = app.ledger()
    job = views.job(db, job_id)
    if job["state"] != "quarantined":
        raise NotFound(f"job {job_id} is not in quarantine, it is {job['state']}: `farm jobs show {job_id}`")
    if app.json:
        show.as_json(job)
        return
    describe(job, time.time())
    for attempt in job["attempts"]:
        for name, text in (attempt["evidence"] or {}).items():
            if text:
                click.echo(f"\n{name} of attempt {attempt['number']}:")
                for line in str(text).splitlines():
                    click.echo(f"  {show.printable(line)}")


@quarantine.command(examples=["farm quarantine retry 812", "farm quarantine retry --all"])
@changes.many
@format_option
@pass_app
def retry(app: App, ids: tuple[int, ...], all_: bool, source: str | None) -> None:
    """Try jobs in quarantine again, with a fresh budget of attempts; their history is kept."""
    changes.change(app, "retry_jobs", "will be tried again", _only(app, ids, all_, source), False, None)


@quarantine.command(examples=["farm quarantine discard 812", "farm quarantine discard --source notes"])
@changes.many
@format_option
@pass_app
def discard(app: App, ids: tuple[int, ...], all_: bool, source: str | None) -> None:
    """Give jobs up: this version of their unit is not tried again."""
    changes.change(app, "discard_jobs", "discarded", _only(app, ids, all_, source), False, None)


def _only(app: App, ids: tuple[int, ...], all_: bool, source: str | None) -> tuple[int, ...]:
    """The jobs meant, all of them in quarantine."""
    if bool(ids) == (all_ or source is not None):
        raise click.UsageError("Name the jobs, or give --all or --source for all of a kind.")
    if source:
        app.require_source(source)
    db = app.ledger()
    waiting = tuple(row["job_id"] for row in views.quarantine(db, source=source))
    if not ids:
        if not waiting:
            click.echo("the quarantine is empty", err=True)
            raise click.exceptions.Exit(0)
        return waiting
    for job_id in ids:
        if job_id not in waiting:
            state = views.job(db, job_id)["state"]
            raise NotFound(f"job {job_id} is not in quarantine, it is {state}")
    return ids
