"""`farm add`: a folder, a vault, a mailbox or a repository becomes a source."""

from __future__ import annotations

import re
from typing import Any

import click

from farm import control, home
from farm.cli import config_file, show
from farm.cli.app import App, pass_app
from farm.cli.command import command, format_option
from farm.cli.recognise import PATTERNS, SECRET, WATCHED, Recognised, folders_of, recognise
from farm.errors import FarmError, FarmNotRunning
from farm.quantities import seconds
from farm.words import span

FOLDERS = frozenset(PATTERNS)


@command(
    examples=[
        "farm add ~/Documents",
        "farm add ~/notes --name vault --every 1h",
        "farm add ~/src --include '*.md' --exclude build/",
        "farm add imaps://ada@mail.example.org/",
        "farm add https://github.com/python/cpython",
    ]
)
@click.argument("what", nargs=-1, required=True, metavar="WHAT...")
@click.option("--name", metavar="NAME", help="The source's name; by default the folder's.")
@click.option(
    "--connector",
    type=click.Choice(sorted(FOLDERS)),
    help="What to read a folder as, where it is not what it looks like.",
)
@click.option(
    "--every", default="15m", show_default=True, metavar="TIME", help="How often it is read in full."
)
@click.option(
    "--watch/--no-watch",
    default=None,
    help="Read a file as soon as it is saved, mail as it comes; on unless you say --no-watch.",
)
@click.option("--include", multiple=True, metavar="PATTERN", help="Only these files, as in .gitignore.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Never these files, as in .gitignore.")
@format_option
@pass_app
def add(
    app: App,
    what: tuple[str, ...],
    name: str | None,
    connector: str | None,
    every: str,
    watch: bool | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
) -> None:
    """Make a source from each WHAT: write it into farm.toml, and tell the running farm.

    WHAT is a folder, an Obsidian vault (a folder with .obsidian in it), a git repository (its folder or its
    address), or a mailbox (imaps://USER@HOST/). The state folder and farm.toml are made when there are none.
    Adding a thing twice changes nothing.
    """
    if name and len(what) > 1:
        raise click.UsageError("--name goes with one source.")
    patterns = {key: list(value) for key, value in (("include", include), ("exclude", exclude)) if value}
    chosen = [recognise(word, connector) for word in what]
    for one in chosen:
        if unfit := patterns.keys() - PATTERNS.get(one.connector, set()):
            raise click.UsageError(f"--{min(unfit)} does not go with {one.connector}.")
        if watch and one.connector not in WATCHED:
            raise click.UsageError(
                f"--watch does not go with {one.connector}: it has nothing to watch, use --every."
            )
        _refuse_state(app, one)
    home.prepare(app.home)
    rows: list[dict[str, Any]] = []
    needing: list[str] = []
    with config_file.edited(app.config) as document:
        for one in chosen:
            taken: dict[str, Any] = document.get("sources", {})
            known = next((str(source) for source, table in taken.items() if one.is_same(table)), None)
            if known is not None and name in (None, known):
                rows.append(_row(known, one, added=False))
                continue
            if name is not None and name in taken:
                raise FarmError(f"there is a source {name!r} already: choose another --name")
            source = name or unique(one.stem, taken)
            options = {**one.options, **patterns}
            if one.needs_secret:
                options[SECRET] = source
                needing.append(source)
            table: dict[str, Any] = {"connector": one.connector, "every": every}
            if one.connector in WATCHED:
                table["watch"] = watch is not False
            config_file.append_source(document, source, {**table, "options": options})
            rows.append(_row(source, one, added=True))
    running = _tell(app) if any(row["added"] for row in rows) else control.answers(app.home)
    if app.json:
        show.as_json(rows)
        return
    for row, one in zip(rows, chosen, strict=True):
        place = show.printable(row["path"])
        if not row["added"]:
            click.echo(f"there already: {row['source']} ({place})")
            continue
        watched = one.connector in WATCHED if watch is None else watch
        kind, meaning = one.meaning(span(seconds(every)), watch=watched)
        click.echo(f"added {row['source']} ({place}) as {kind}: {meaning}")
        if note := _overlap(row["source"], one, app.tables()):
            click.echo(f"note: {show.printable(note)}", err=True)
    for source in needing:
        click.echo(f"next: `{app.say(f'secrets set {source}')}`", err=True)
    if not running:
        click.echo(f"next: `{app.say('start')}`", err=True)


def _refuse_state(app: App, one: Recognised) -> None:
    """What the farm writes itself would change with each look at it."""
    if one.folder is not None and one.folder.resolve().is_relative_to(app.home.resolve()):
        raise FarmError(
            f"{one.folder} belongs to this farm's state folder {app.home}: add a folder outside it"
        )


def _overlap(source: str, one: Recognised, tables: dict[str, dict[str, Any]]) -> str:
    """A sentence when this folder holds another source's, or lies in one; else empty."""
    if one.folder is None:
        return ""
    own = one.folder.resolve()
    around, inside = [], []
    for name, table in tables.items():
        for folder in folders_of(table) if name != source else ():
            if own.is_relative_to(folder.resolve()):
                around.append(f"{name} ({folder})")
            elif folder.resolve().is_relative_to(own):
                inside.append(f"{name} ({folder})")
    parts = [f"{source} lies in {' and in '.join(around)}"] if around else []
    parts += [f"{'it' if parts else source} holds {' and '.join(inside)}"] if inside else []
    if not parts:
        return ""
    return f"{', and '.join(parts)}: what both read is read and found twice, unless `exclude` leaves it out of one"


def _row(source: str, one: Recognised, *, added: bool) -> dict[str, Any]:
    return {"source": source, "path": one.place, "added": added}


def unique(stem: str, taken: dict[str, Any]) -> str:
    """A name that no other source has.

    >>> unique("My Documents", {})
    'my-documents'
    >>> unique("notes", {"notes": {}, "notes-2": {}})
    'notes-3'
    """
    stem = re.sub(r"[^a-z0-9_]+", "-", stem.lower()).strip("-_")[:60] or "files"
    number, name = 1, stem
    while name in taken:
        number += 1
        name = f"{stem}-{number}"
    return name


def _tell(app: App) -> bool:
    """Have the running farm read farm.toml anew; False when none runs."""
    try:
        control.call(app.home, "reload")
    except FarmNotRunning:
        return False
    return True
