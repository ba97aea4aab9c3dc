"""`farm runs`: what was done, run by run."""

from __future__ import annotations

import click

from farm.cli import show
from farm.cli.app import App, pass_app
from farm.cli.command import command, format_option, limit_option, source_option
from farm.ledger import views
from farm.words import span

STATES = ("draft", "queued", "running", "paused", "succeeded", "partial", "failed", "cancelled")


def _took(row: show.Row) -> str:
    if row["started_at"] is None or row["finished_at"] is None:
        return ""
    return span(row["finished_at"] - row["started_at"])


def documents(row: show.Row) -> str:
    """What a run did to the store, in words; nothing where it did nothing."""
    return ", ".join(f"{n:,} {what}" for what, n in row["documents"].items() if n)


COLUMNS = (
    show.Column("RUN", "id", right=True),
    show.Column("SOURCE", "source"),
    show.Column("TYPE", "type"),
    show.Column("STATE", "state"),
    show.Column("TRIGGER", "trigger"),
    show.Column("ASKED", show.ago("requested_at")),
    show.Column("TOOK", _took, right=True),
    show.Column(
        "JOBS", lambda row: ", ".join(f"{n:,} {state}" for state, n in row["jobs"].items() if n), wrap=True
    ),
    show.Column("DOCUMENTS", documents, wrap=True),
    show.Column("MESSAGE", "message", wrap=True),
)


@command(examples=["farm runs", "farm runs --source notes --state partial", "farm runs --id 7 --format json"])
@source_option
@click.option("--state", type=click.Choice(STATES), help="Only runs in this state.")
@click.option("--id", "run_id", type=int, metavar="ID", help="Only this run.")
@limit_option
@format_option
@pass_app
def runs(app: App, source: str | None, state: str | None, run_id: int | None, limit: int | None) -> None:
    """List the runs, the newest first."""
    if source:
        app.require_source(source)
    db = app.ledger()
    found = [views.run(db, run_id)] if run_id else views.runs(db, source=source, state=state, limit=limit)
    show.listing(found, COLUMNS, is_json=app.json, nothing="no runs")
