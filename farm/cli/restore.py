"""`farm restore`: a backup takes the place of what is there."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from farm.cli import show
from farm.cli.app import App, pass_app
from farm.cli.command import command, format_option


@command(
    examples=["farm restore ~/backups/farm-2026-03-01", "farm restore ~/backups/farm-2026-03-01 --force"]
)
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--force", is_flag=True, help="Also over a newer state.")
@format_option
@pass_app
def restore(app: App, source: Path, force: bool) -> None:
    """Put the backup in SOURCE in place; a state newer than it is only overwritten with --force.

    The farm must not be running. What the backup replaces is kept in a folder beside it.
    """
    from farm.backup import restore as put_back
    from farm.cli.backup import contents

    done = put_back(app.home, source.expanduser(), force)
    if app.json:
        show.as_json(asdict(done))
    else:
        show.fields([("restored", done.path), *contents(done), ("kept aside", done.replaced)])
