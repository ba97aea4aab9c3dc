"""Changing jobs: the verbs that `jobs` and `quarantine` share."""

from __future__ import annotations

from typing import Any

import click

from farm.cli import show
from farm.cli.app import App
from farm.words import plural


def change(app: App, op: str, done: str, ids: tuple[int, ...], all_: bool, source: str | None) -> None:
    """Ask for it and say what changed. Exit code 1 when nothing did though ids were named."""
    if bool(ids) == (all_ or source is not None):
        raise click.UsageError("Name the jobs, or give --all or --source for all of a kind.")
    if source:
        app.require_source(source)
    chosen: dict[str, Any] = {"ids": list(ids)} if ids else {"all": True, "source": source}
    result = app.act(op, **chosen)
    if app.json:
        show.as_json(result)
    else:
        click.echo(f"{plural(result['changed'], 'job')} {done}")
        for skipped in result["skipped"]:
            click.echo(f"job {skipped['id']}: {show.printable(skipped['why'])}", err=True)
    if ids and not result["changed"]:
        raise click.exceptions.Exit(1)


def many(function: Any) -> Any:
    """`ID…`, `--all`, `--source`."""
    function = click.option("--source", metavar="NAME", help="All of this source's.")(function)
    function = click.option("--all", "all_", is_flag=True, help="All of them.")(function)
    return click.argument("ids", nargs=-1, type=int, metavar="[ID]...")(function)
