"""`farm documents`: what was read, as it landed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from farm.cli import show
from farm.cli.app import App, pass_app
from farm.cli.command import format_option, group, limit_option, source_option
from farm.errors import NotFound
from farm.home import STORE
from farm.words import size, when

PAGE = 500

COLUMNS = (
    show.Column("DOCUMENT", lambda row: row["doc_id"][:12]),
    show.Column("SOURCE", "source"),
    show.Column("KEY", "key", wrap=True),
    show.Column("TITLE", "title", wrap=True),
    show.Column("MIME", "mime"),
    show.Column("SIZE", show.bytes_of("bytes"), right=True),
    show.Column("MODIFIED", show.ago("modified_at")),
    show.Column("LANDED", show.ago("landed_at")),
)


@group(examples=["farm documents list --source notes", "farm documents show 72c0e8ca9da2"])
def documents() -> None:
    """List and show what was read."""


@documents.command(
    "list", examples=["farm documents list", "farm documents list --source notes --deleted --format json"]
)
@source_option
@click.option("--deleted", is_flag=True, help="Those that are gone from their source.")
@limit_option
@format_option
@pass_app
def list_(app: App, source: str | None, deleted: bool, limit: int | None) -> None:
    """List documents by source and key."""
    path = app.require_home() / STORE
    if source and not is_stored(app, source):
        app.require_source(source)
    rows = _documents(path, source, deleted, limit)
    show.listing(rows, COLUMNS, is_json=app.json, nothing="no documents")


def is_stored(app: App, source: str) -> bool:
    """Whether the store has anything of it: also of a source that was removed without --purge."""
    from farm.store import search

    return search.holds(app.require_home() / STORE, source)


def _documents(path: Path, source: str | None, deleted: bool, limit: int | None) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    from farm.store import search

    offset = 0
    while limit is None or offset < limit:
        count = PAGE if limit is None else min(PAGE, limit - offset)
        rows = search.documents(path, source=source, deleted=deleted, limit=count, offset=offset)
        yield from map(asdict, rows)
        if len(rows) < count:
            return
        offset += count


@documents.command(
    "show", examples=["farm documents show 72c0e8ca9da2", "farm documents show 72c0 --elements"]
)
@click.argument("doc_id", metavar="DOC_ID")
@click.option("--elements", is_flag=True, help="Its parts with their kinds instead of its text.")
@format_option
@pass_app
def show_(app: App, doc_id: str, elements: bool) -> None:
    """Show a document with its text; the first digits of its id are enough."""
    path = app.require_home() / STORE
    found = None
    if path.exists():
        from farm.store import search

        found = search.document(path, doc_id)
    if found is None:
        raise NotFound(
            f"there is no document {doc_id}, or several begin so: `farm documents list` shows them"
        )
    detail = asdict(found)
    row = detail.pop("row") | detail
    if app.json:
        show.as_json(row)
        return
    _describe(row)
    click.echo()
    if elements:
        for element in row["elements"]:
            click.echo(f"{element['type']:<16}  {show.printable(element['text'])}")
    else:
        for line in row["text"].splitlines():
            click.echo(show.printable(line))


def _describe(row: dict[str, Any]) -> None:
    import time

    now = time.time()
    metadata = {key: value for key, value in row["metadata"].items() if value not in (None, "", [])}
    show.fields(
        [
            ("document", row["doc_id"]),
            ("title", row["title"]),
            ("source", row["source"]),
            ("key", row["key"]),
            ("uri", row["uri"]),
            ("mime", row["mime"]),
            ("size", size(row["bytes"])),
            ("modified", when(row["modified_at"], now)),
            ("landed", f"{when(row['landed_at'], now)}, by job {row['job_id']}"),
            ("deleted", when(row["deleted_at"], now)),
            *metadata.items(),
        ]
    )
