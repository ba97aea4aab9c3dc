"""`farm sources`: what is read, whether it can be, and what would come of it."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import click

from farm import control
from farm.cli import facts, in_force, show
from farm.cli.app import App, pass_app
from farm.cli.command import complete_source, format_option, group
from farm.errors import FarmError, FarmNotRunning, UnknownSource
from farm.words import plural

if TYPE_CHECKING:
    from farm.settings import Settings, SourceSettings


def _last(row: show.Row) -> str:
    last = row["last_run"]
    return (
        f"{last['state']} {show.ago('at')({'at': last['finished_at'] or last['requested_at']})}"
        if last
        else "never"
    )


def _waiting(row: show.Row) -> str:
    return ", ".join(f"{n:,} {state}" for state, n in row["jobs"].items() if n and state in _OPEN)


_OPEN = ("pending", "running", "retrying", "paused", "quarantined")

COLUMNS = (
    show.Column("SOURCE", "name"),
    show.Column("CONNECTOR", "connector"),
    show.Column("STATE", "state"),
    show.Column("RUNS", facts.schedule),
    show.Column("PRIORITY", "priority"),
    show.Column("WEIGHT", "weight", right=True),
    show.Column("LAST RUN", _last),
    show.Column("NEXT", show.ago("next_run_at")),
    show.Column("WORK", _waiting, wrap=True),
    show.Column("LIMITS", facts.limits),
    show.Column("TROUBLE", facts.trouble, wrap=True),
)


@group(examples=["farm sources list", "farm sources check", "farm sources pause notes"])
def sources() -> None:
    """List, check, preview, pause, resume, remove sources."""


@sources.command("list", examples=["farm sources list", "farm sources list --format json"])
@format_option
@pass_app
def list_(app: App) -> None:
    """List the sources: when they run, how they are, what waits."""
    rows = facts.sources(app, app.ledger(), limits=True)
    in_force.warn(app)
    nothing = f"no sources yet: add a folder with `{app.say('add FOLDER')}`"
    show.listing(rows, COLUMNS, is_json=app.json, nothing=nothing)


@sources.command(examples=["farm sources check", "farm sources check notes"])
@click.argument("source", required=False, shell_complete=complete_source)
@format_option
@pass_app
def check(app: App, source: str | None) -> None:
    """Check farm.toml, and whether SOURCE (or every source) can be reached; exits 1 when one cannot."""
    from farm import trial

    settings = app.settings()
    chosen = [configured(settings, source)] if source else list(settings.sources.values())
    rows = []
    for each in chosen:
        wrong = trial.check(settings, each, app.home)
        rows.append({"source": each.name, "ok": wrong is None, "message": wrong or ""})
    columns = (
        show.Column("SOURCE", "source"),
        show.Column("CHECK", lambda row: "ok" if row["ok"] else "broken"),
        show.Column("MESSAGE", "message", wrap=True),
    )
    show.listing(rows, columns, is_json=app.json, nothing="farm.toml is fine; it has no sources yet")
    if not all(row["ok"] for row in rows):
        raise click.exceptions.Exit(1)


@sources.command(
    examples=["farm sources preview notes", "farm sources preview notes --count 3 --format json"]
)
@click.argument("source", shell_complete=complete_source)
@click.option(
    "--count", default=10, show_default=True, type=click.IntRange(1, 1000), help="How many at most."
)
@format_option
@pass_app
def preview(app: App, source: str, count: int) -> None:
    """Read a few documents of SOURCE and show them; nothing is kept."""
    from farm import trial

    settings = app.settings()
    rows = trial.preview(app.require_home(), settings, configured(settings, source), count=count)
    columns = (
        show.Column("KIND", "kind"),
        show.Column("KEY", "key", wrap=True),
        show.Column("TITLE", "title", wrap=True),
        show.Column("TEXT", _glimpse, wrap=True),
    )
    show.listing(rows, columns, is_json=app.json, nothing="nothing was found there")


def _glimpse(row: show.Row) -> str:
    text = " ".join(str(row.get("text") or row.get("message") or row.get("record") or "").split())
    return text if len(text) <= 200 else text[:199] + "…"


@sources.command(examples=["farm sources pause notes"])
@click.argument("source", shell_complete=complete_source)
@format_option
@pass_app
def pause(app: App, source: str) -> None:
    """Start nothing of SOURCE until it is resumed; what runs may finish."""
    _done(app, app.act("pause_source", name=app.require_source(source)), f"{source} is paused")


@sources.command(examples=["farm sources resume notes"])
@click.argument("source", shell_complete=complete_source)
@format_option
@pass_app
def resume(app: App, source: str) -> None:
    """Let a paused SOURCE go on."""
    _done(app, app.act("resume_source", name=app.require_source(source)), f"{source} goes on")


@sources.command(examples=["farm sources remove notes", "farm sources remove notes --purge --yes"])
@click.argument("source", shell_complete=complete_source)
@click.option("--purge", is_flag=True, help="Remove its documents from the store, too.")
@click.option("--yes", is_flag=True, help="Do not ask; needed with --purge where there is no terminal.")
@format_option
@pass_app
def remove(app: App, source: str, purge: bool, yes: bool) -> None:
    """Take SOURCE out of farm.toml and cancel its work; its documents stay, unless --purge is given.

    With --purge also the documents of a source that was removed before.
    """
    from farm.cli import config_file
    from farm.cli.documents import is_stored

    if not (purge and is_stored(app, source)):
        app.require_source(source)
    if purge and not yes:
        if not sys.stdin.isatty():
            raise FarmError(
                f"--purge removes all documents of {source}, and there is no terminal to ask on: give --yes, too"
            )
        click.confirm(f"Remove {source} and all of its documents?", abort=True)
    # The file first, so that no trigger starts it again in between.
    if source in app.tables():
        with config_file.edited(app.config) as document:
            del document["sources"][source]
        with contextlib.suppress(FarmNotRunning):
            control.call(app.home, "reload")
    changed = app.act("remove_source", name=source, purge=purge)
    documents = "its documents are gone" if purge else "its documents stay"
    _done(app, changed, f"{source} is removed, {plural(changed['changed'], 'job')} cancelled; {documents}")


def configured(settings: Settings, name: str) -> SourceSettings:
    """The source of this name; raises UnknownSource."""
    if name not in settings.sources:
        import difflib

        raise UnknownSource(name, difflib.get_close_matches(name, settings.sources))
    return settings.sources[name]


def _done(app: App, result: Any, sentence: str) -> None:
    if app.json:
        show.as_json(result)
    else:
        click.echo(sentence)
