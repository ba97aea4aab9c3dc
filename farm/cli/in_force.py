"""The settings that count: those that the farm read last while it runs, which need not be the file's."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import click

from farm.cli import show
from farm.errors import ConfigErrors
from farm.home import IN_FORCE, owner

if TYPE_CHECKING:
    from pathlib import Path

    from farm.cli.app import App

Tables = dict[str, dict[str, Any]]


def tables(app: App) -> Tables:
    """The [sources.NAME] tables in force; of a farm that is down those of the file, if it can be read."""
    kept = sources_in(_text(app.home / IN_FORCE))
    if kept is not None and owner(app.home) is not None:
        return kept
    found = sources_in(_text(app.config)) if app.config.exists() else {}
    return found if found is not None else kept or {}


def sources_in(text: str | None) -> Tables | None:
    """The sources' tables, unchecked; None where there is no text, or none that can be parsed."""
    try:
        sources = None if text is None else tomllib.loads(text).get("sources", {})
    except ValueError:
        return None
    if not isinstance(sources, dict):
        return None
    return {name: table for name, table in sources.items() if isinstance(table, dict)}


def fault(app: App) -> str:
    """What is wrong with farm.toml, and what counts instead, in a sentence; empty where nothing is.

    Quick where the file is as the farm read it last: to check it takes longer than `farm status` may.
    """
    running, kept = owner(app.home) is not None, _text(app.home / IN_FORCE)
    if _text(app.config) == kept or not (running or app.config.exists()):
        return ""
    try:
        app.settings()
    except ConfigErrors as error:
        place = f"{error.config}: " if error.config else ""
        more = f" (and {len(error.errors) - 1} more: `farm sources check`)" if len(error.errors) > 1 else ""
        goes_on = "; the farm goes on with the settings that it read last" if running and kept else ""
        return f"farm.toml is broken: {place}{error.errors[0]}{more}{goes_on}"
    return ""


def unread(app: App) -> str:
    """A sentence when farm.toml was changed and the running farm goes by what it was before."""
    text, kept = _text(app.config), _text(app.home / IN_FORCE)
    if kept is None or text == kept or owner(app.home) is None:
        return ""
    return (
        f"{app.config} was changed: the farm goes on with the settings that it read last until `farm reload`"
    )


def warn(app: App) -> None:
    """Say either on standard error, to people."""
    if not app.json and (sentence := fault(app) or unread(app)):
        click.echo(f"farm: {show.printable(sentence)}", err=True)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
