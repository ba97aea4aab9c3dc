"""`farm backup`: a verified copy of everything, while the farm works."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from farm.cli import show
from farm.cli.app import App, pass_app
from farm.cli.command import command, format_option


@command(examples=["farm backup ~/backups/farm-2026-03-01"])
@click.argument("target", type=click.Path(path_type=Path))
@format_option
@pass_app
def backup(app: App, target: Path) -> None:
    """Copy ledger, store and settings to the new folder TARGET, and verify the copy."""
    from farm.backup import backup as copy

    summary = asdict(copy(app.require_home(), target.expanduser()))
    if app.json:
        show.as_json(summary)
    else:
        show.fields([("backup", target), *summary.items()])
