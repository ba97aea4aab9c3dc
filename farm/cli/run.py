"""`farm run`: read a source now."""

from __future__ import annotations

from typing import Any

import click

from farm.cli import show
from farm.cli.app import App, pass_app
from farm.cli.command import command, complete_source, format_option
from farm.errors import FarmError, FarmNotRunning
from farm.home import owner


@command(examples=["farm run notes", "farm run notes --wait", "farm run --full --wait"])
@click.argument("source", required=False, shell_complete=complete_source)
@click.option(
    "--wait", is_flag=True, help="Show progress until the run ends; exits 3 when jobs ended in quarantine."
)
@click.option("--full", is_flag=True, help="Look at everything anew, whatever the connector remembers.")
@format_option
@pass_app
def run(app: App, source: str | None, wait: bool, full: bool) -> None:
    """Read SOURCE now; without it, every source that is not paused.

    While the farm is down, the run is written down and begins with the next `farm start`.
    """
    started = [_ask(app, name, full) for name in _chosen(app, source, wait)]
    if not wait:
        if app.json:
            show.as_json(started if source is None else started[0])
        else:
            for one in started:
                _say(app, one)
        return
    from farm.cli.progress import until_over

    ended = until_over(app, [one["run_id"] for one in started if one["run_id"] is not None])
    if app.json:
        show.as_json(ended if source is None else ended[0])
    if any(one["state"] == "failed" for one in ended):
        raise click.exceptions.Exit(1)
    if any(one["jobs"]["quarantined"] for one in ended):
        raise click.exceptions.Exit(3)


def _chosen(app: App, source: str | None, wait: bool) -> list[str]:
    if wait and owner(app.require_home()) is None:
        raise FarmNotRunning(app.home)
    if source is not None:
        return [app.require_source(source)]
    from farm.ledger import views

    names = list(app.tables())
    paused = {name for name, row in views.sources(app.ledger(), names).items() if row["paused_at"]}
    if not names:
        raise FarmError(f"there are no sources: add a folder with `{app.say('add FOLDER')}`")
    if paused.issuperset(names):
        raise FarmError("every source is paused: `farm sources resume NAME`")
    return [name for name in names if name not in paused]


def _ask(app: App, source: str, full: bool) -> dict[str, Any]:
    answer = app.act("run", source=source, type="full" if full else "incremental")
    return {"source": source, "run_id": answer["run_id"], "coalesced": answer["coalesced"]}


def _say(app: App, one: dict[str, Any]) -> None:
    joined = " (it was under way)" if one["coalesced"] else ""
    later = "" if owner(app.home) else "; it begins with the next `farm start`"
    click.echo(f"{one['source']}: run {one['run_id']}{joined}{later}")
