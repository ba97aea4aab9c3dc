"""`farm secrets`: set, list, test, remove what sources use by name. A value is never shown."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from farm import home
from farm import secrets as keep
from farm.cli import show
from farm.cli.app import App, pass_app
from farm.cli.command import format_option, group

if TYPE_CHECKING:
    from collections.abc import Iterator

    from farm.settings import Settings

WEBHOOKS = "[farm.webhooks]"
"""Stands among the sources that use a secret; no source can be called so."""
COLUMNS = (
    show.Column("SECRET", "name"),
    show.Column("FROM", "from"),
    show.Column("USED BY", lambda row: ", ".join(row["used_by"])),
    show.Column("MESSAGE", "message", wrap=True),
)


@group(examples=["farm secrets set mail", "farm secrets list", "farm secrets test mail"])
def secrets() -> None:
    """Set, list, test, remove secrets."""


@secrets.command("set", examples=["farm secrets set mail", "pass show mail | farm secrets set mail"])
@click.argument("name")
@format_option
@pass_app
def set_(app: App, name: str) -> None:
    """Keep a secret under NAME; its value is asked for, or read from standard input.

    It is written into the state folder, for its owner only (mode 0600). A job that starts later uses it.
    """
    keep.checked(name)
    if sys.stdin.isatty():
        value = click.prompt(f"Value of {name}", hide_input=True, confirmation_prompt=True)
    else:
        value = sys.stdin.read(keep.MOST_BYTES + 1).removesuffix("\n").removesuffix("\r")
    home.prepare(app.home)
    path = keep.put(name, value, home=app.home)
    if app.json:
        show.as_json({"name": name, "from": str(keep.Place.FILE), "path": str(path)})
    else:
        click.echo(f"{name} is kept in {path}")


@secrets.command("list", examples=["farm secrets list", "farm secrets list --format json"])
@format_option
@pass_app
def list_(app: App) -> None:
    """List the secrets: their names, where they are kept, and what in farm.toml uses them."""
    nothing = f"no secrets yet: keep one with `{app.say('secrets set NAME')}`"
    show.listing(_rows(app), COLUMNS, is_json=app.json, nothing=nothing)


@secrets.command("test", examples=["farm secrets test", "farm secrets test mail"])
@click.argument("name", required=False)
@format_option
@pass_app
def test(app: App, name: str | None) -> None:
    """Look whether the secret NAME (or each that is used or kept) can be had; exits 1 when one cannot.

    It is looked for as a worker does: systemd credential, keyring, file, environment.
    """
    if name is not None:
        keep.checked(name)
    rows = [_row(app, name, _users(app).get(name, []))] if name is not None else _rows(app)
    show.listing(rows, COLUMNS, is_json=app.json, nothing="no secret is used or kept")
    if any(row["from"] is None for row in rows):
        raise click.exceptions.Exit(1)


@secrets.command(examples=["farm secrets remove mail"])
@click.argument("name")
@format_option
@pass_app
def remove(app: App, name: str) -> None:
    """Forget the secret NAME that is kept in the state folder."""
    keep.drop(name, home=app.home)
    if app.json:
        show.as_json({"name": name, "removed": True})
    else:
        click.echo(f"{name} is removed")


def _rows(app: App) -> list[show.Row]:
    users = _users(app)
    kept = [name for name, _ in keep.known(app.home)]
    return [_row(app, name, users.get(name, [])) for name in dict.fromkeys([*users, *kept])]


def _row(app: App, name: str, users: list[str]) -> show.Row:
    row: dict[str, Any] = {"name": name, "from": None, "used_by": users, "message": ""}
    try:
        row["from"] = str(keep.find(name, home=app.home).place)
    except (keep.SecretMissing, keep.SecretRefused) as error:
        row["message"] = str(error)
    if row["from"] == keep.Place.ENVIRONMENT:
        row["message"] = "other programs of this user can see it: keep it with `farm secrets set`"
    return row


def _users(app: App) -> dict[str, list[str]]:
    """Who in farm.toml names which secret: sources, and the table of the webhooks."""
    found: dict[str, list[str]] = {}
    if not app.config.exists():
        return found
    for user, name in _named(app.settings()):
        found.setdefault(name, []).append(user)
    return found


def _named(settings: Settings) -> Iterator[tuple[str, str]]:
    from farm import registry
    from farm.connector import secret_names

    for source in settings.sources.values():
        options = registry.load(source.connector).Options.model_validate_json(source.options_json)
        for name in secret_names(options):
            yield source.name, name
    if settings.farm.webhooks is not None:
        for name in settings.farm.webhooks.secrets:
            yield WEBHOOKS, name
