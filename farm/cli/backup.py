"""`farm backup`: a verified copy of everything, while the farm works."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from farm.cli import show
from farm.cli.app import App, pass_app
from farm.cli.command import command, format_option
from farm.words import iso, plural, size

if TYPE_CHECKING:
    from farm.backup import Backup, Restored


@command(examples=["farm backup ~/backups/farm-2026-03-01", "farm backup ~/backups"])
@click.argument("target", type=click.Path(path_type=Path))
@format_option
@pass_app
def backup(app: App, target: Path) -> None:
    """Copy ledger, store and settings to the new folder TARGET, and verify the copy.

    Where TARGET exists, the backup goes into it, to a folder named by the time. The farm may be at work.
    """
    from farm.backup import backup as copy

    made = copy(app.require_home(), target.expanduser(), app.config)
    if app.json:
        show.as_json(asdict(made))
    else:
        show.fields([("backup", made.path), *contents(made)])


def contents(found: Backup | Restored) -> list[tuple[str, object]]:
    """What is in a backup, for people."""
    return [
        ("made", iso(found.created_at)),
        ("newest change", iso(found.newest_at)),
        ("holds", f"{plural(found.jobs, 'job')}, {plural(found.documents, 'document')}, {size(found.bytes)}"),
    ]
