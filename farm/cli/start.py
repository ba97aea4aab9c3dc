"""`farm start`: the farm itself, in the foreground."""

from __future__ import annotations

import click

from farm.cli.app import App, pass_app
from farm.cli.command import command
from farm.errors import ConfigErrors
from farm.ledger import views
from farm.words import plural


@command(examples=["farm start", "farm start --drain", "farm --home /srv/farm start --no-progress"])
@click.option("--drain", is_flag=True, help="Work until nothing is left to do, then exit.")
@click.option("--no-progress", is_flag=True, help="Print nothing but errors.")
@pass_app
def start(app: App, drain: bool, no_progress: bool) -> None:
    """Start the farm, and stay until Ctrl-C, SIGTERM or `farm stop`.

    Running jobs then get a grace time; a second Ctrl-C stops at once. With --drain it exits when nothing is
    pending, running or retrying: 0, or 3 when jobs ended in quarantine, or 130 when it was told to stop before.
    """
    if not app.config.exists():
        raise ConfigErrors([f"{app.config} does not exist: make one with `{app.say('add FOLDER')}`"])
    from farm import supervisor

    if no_progress:
        code = supervisor.run(app.home, app.config, drain=drain)
    else:
        from farm.cli.progress import Showing

        showing = Showing(app, drain)
        showing.start()
        try:
            code = supervisor.run(app.home, app.config, drain=drain, stopping=showing.stopping)
        finally:
            showing.close()
    if code == supervisor.DRAINED_WITH_QUARANTINED:
        refused = views.job_counts(app.ledger())["quarantined"]
        are = "is" if refused == 1 else "are"
        click.echo(f"{plural(refused, 'job')} {are} in quarantine: `{app.say('quarantine list')}`", err=True)
    raise click.exceptions.Exit(code)
