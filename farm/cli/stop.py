"""`farm stop`: running jobs get their grace time, then the farm ends."""

from __future__ import annotations

import time

import click

from farm import control
from farm.cli.app import App, pass_app
from farm.cli.command import command
from farm.errors import FarmError, FarmNotRunning
from farm.home import owner


@command(examples=["farm stop", "farm stop --now"])
@click.option("--now", is_flag=True, help="Do not wait for running jobs; they lose no attempt.")
@click.option(
    "--timeout", "timeout_s", default=120.0, metavar="SECONDS", help="How long to wait for its end."
)
@pass_app
def stop(app: App, now: bool, timeout_s: float) -> None:
    """Stop the running farm, and wait until it is gone.

    Running jobs may finish within the farm's grace time; what does not is interrupted and runs again after
    the next start. Exits 0 also when no farm was running.
    """
    pid = owner(app.home)
    if pid is None:
        click.echo(f"no farm is running on {app.home}", err=True)
        return
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            control.call(app.home, "stop", now=now)
            break
        except FarmNotRunning:
            if owner(app.home) != pid:
                break  # it was ending by itself
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)  # just starting, its socket is not there yet
    while owner(app.home) == pid:
        if time.monotonic() > deadline:
            raise FarmError(
                f"the farm (process {pid}) is still stopping; `farm stop --now` does not wait for jobs"
            )
        time.sleep(0.05)
    click.echo("stopped", err=True)
