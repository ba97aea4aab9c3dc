"""`farm add`: a folder becomes a source."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import click

from farm import control, home
from farm.cli import config_file, show
from farm.cli.app import App, pass_app
from farm.cli.command import command, format_option
from farm.errors import FarmError, FarmNotRunning

CONNECTOR = "local_files"


@command(
    examples=[
        "farm add ~/Documents",
        "farm add ~/notes --name vault --every 1h",
        "farm add ~/src --include '*.md' --exclude build/",
    ]
)
@click.argument("paths", nargs=-1, required=True, metavar="FOLDER...", type=click.Path(path_type=Path))
@click.option("--name", metavar="NAME", help="The source's name; by default the folder's.")
@click.option(
    "--every", default="15m", show_default=True, metavar="TIME", help="How often it is read in full."
)
@click.option(
    "--watch/--no-watch", default=True, show_default=True, help="Read a file as soon as it is saved."
)
@click.option("--include", multiple=True, metavar="PATTERN", help="Only these files, as in .gitignore.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Never these files, as in .gitignore.")
@format_option
@pass_app
def add(
    app: App,
    paths: tuple[Path, ...],
    name: str | None,
    every: str,
    watch: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
) -> None:
    """Make a source from each FOLDER: write it into farm.toml, and tell the running farm.

    The state folder and farm.toml are made when there are none. Adding a folder twice changes nothing.
    """
    if name and len(paths) > 1:
        raise click.UsageError("--name goes with one folder.")
    folders = [_folder(path) for path in paths]
    home.prepare(app.home)
    rows: list[dict[str, Any]] = []
    with config_file.edited(app.config) as document:
        for folder in folders:
            taken: dict[str, Any] = document.get("sources", {})
            known = _source_of(taken, folder)
            if known is not None and name in (None, known):
                rows.append({"source": known, "path": str(folder), "added": False})
                continue
            if name is not None and name in taken:
                raise FarmError(f"there is a source {name!r} already: choose another --name")
            options: dict[str, Any] = {"path": str(folder)}
            options |= {
                key: list(value) for key, value in (("include", include), ("exclude", exclude)) if value
            }
            chosen = name or unique(folder, taken)
            table = {"connector": CONNECTOR, "every": every, "watch": watch, "options": options}
            config_file.append_source(document, chosen, table)
            rows.append({"source": chosen, "path": str(folder), "added": True})
    running = _tell(app) if any(row["added"] for row in rows) else control.answers(app.home)
    if app.json:
        show.as_json(rows)
        return
    for row in rows:
        click.echo(
            f"{'added' if row['added'] else 'there already:'} {row['source']} ({show.printable(row['path'])})"
        )
    if not running:
        click.echo(f"next: `{app.say('start')}`", err=True)


def unique(folder: Path, taken: dict[str, Any]) -> str:
    """A name for the folder that no other source has.

    >>> unique(Path("/home/ada/My Documents"), {})
    'my-documents'
    >>> unique(Path("/mnt/notes"), {"notes": {}, "notes-2": {}})
    'notes-3'
    """
    stem = re.sub(r"[^a-z0-9_]+", "-", folder.name.lower()).strip("-_")[:60] or "files"
    number, name = 1, stem
    while name in taken:
        number += 1
        name = f"{stem}-{number}"
    return name


def _folder(path: Path) -> Path:
    absolute = Path(os.path.abspath(path.expanduser()))  # noqa: PTH100  # a link in it stays the way its owner sees it
    if not absolute.exists():
        raise FarmError(f"there is no folder {absolute}")
    if not absolute.is_dir():
        raise FarmError(
            f"{absolute} is a file, not a folder: add its folder, with --include {absolute.name!r}"
        )
    if not os.access(absolute, os.R_OK | os.X_OK):
        raise FarmError(f"the folder {absolute} may not be read by this user")
    return absolute


def _source_of(sources: dict[str, Any], folder: Path) -> str | None:
    for name, table in sources.items():
        path = table.get("options", {}).get("path") if table.get("connector") == CONNECTOR else None
        if path is not None and Path(os.path.abspath(Path(str(path)).expanduser())) == folder:  # noqa: PTH100
            return str(name)
    return None


def _tell(app: App) -> bool:
    """Have the running farm read farm.toml anew; False when none runs."""
    try:
        control.call(app.home, "reload")
    except FarmNotRunning:
        return False
    return True
