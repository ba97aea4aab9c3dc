"""`farm init`: a farm.toml to start from."""

from __future__ import annotations

import click

from farm import home
from farm.cli import config_file
from farm.cli.app import App, pass_app
from farm.cli.command import command
from farm.errors import FarmError


@command(examples=["farm init", "farm --home /srv/farm init"])
@pass_app
def init(app: App) -> None:
    """Make the state folder with a commented farm.toml; an existing one is never overwritten."""
    if app.config.exists():
        raise FarmError(
            f"{app.config} exists already; edit it, or add a folder with `{app.say('add FOLDER')}`"
        )
    home.prepare(app.home)
    config_file.write(app.config, config_file.TEMPLATE)
    click.echo(f"wrote {app.config}")
    click.echo(f"next: `{app.say('add FOLDER')}`, then `{app.say('start')}`", err=True)
