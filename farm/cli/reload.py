"""`farm reload`: have the running farm read farm.toml again."""

from __future__ import annotations

import click

from farm import control
from farm.cli import show
from farm.cli.app import App, pass_app
from farm.cli.command import command, format_option
from farm.words import plural


@command(examples=["farm reload"])
@format_option
@pass_app
def reload(app: App) -> None:
    """Have the running farm read farm.toml again. With errors in it, nothing changes and all of them are shown.

    SIGHUP does the same, and writes the errors to the log.
    """
    result = control.call(app.require_home(), "reload")
    if app.json:
        show.as_json(result)
    else:
        click.echo(f"{plural(len(result['sources']), 'source')} read from {app.config}")
