"""`farm doctor`: every invariant of ledger, store and process table, and which guards the machine lacks."""

from __future__ import annotations

from dataclasses import asdict

import click

from farm.cli import show
from farm.cli.app import App, pass_app
from farm.cli.command import command, format_option
from farm.words import plural


@command(examples=["farm doctor", "farm doctor --format json"])
@format_option
@pass_app
def doctor(app: App) -> None:
    """Check that nothing is broken; exits 1 with a list of what is. It changes nothing."""
    from farm.doctor import examine

    findings = examine(app.require_home(), app.config if app.config.exists() else None)
    columns = (
        show.Column("CHECK", "check"),
        show.Column("STATE", lambda row: "ok" if row["ok"] else "broken"),
        show.Column("DETAIL", "detail", wrap=True),
    )
    show.listing([asdict(found) for found in findings], columns, is_json=app.json, nothing="nothing to check")
    broken = sum(not found.ok for found in findings)
    if broken:
        click.echo(f"{plural(broken, 'check')} failed", err=True)
        raise click.exceptions.Exit(1)
