"""`farm search`: find what was read."""

from __future__ import annotations

from dataclasses import asdict

import click

from farm.cli import show
from farm.cli.app import App, pass_app
from farm.cli.command import command, format_option, source_option
from farm.cli.documents import is_stored
from farm.home import STORE

MARK = ("\x02", "\x03")
"""Stand around the words found; no text for people has them."""


@command(
    examples=[
        "farm search budget 2026",
        "farm search '\"annual report\"' --source notes",
        "farm search 'invoice* -draft' --limit 50 --format json",
    ]
)
@click.argument("words", nargs=-1, required=True)
@source_option
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1), help="How many at most.")
@click.option("--offset", default=0, type=click.IntRange(min=0), help="Leave out so many of the best.")
@format_option
@pass_app
def search(app: App, words: tuple[str, ...], source: str | None, limit: int, offset: int) -> None:
    """Search all documents for WORDS, the best first.

    All words must be there. "…" is a phrase, word* a beginning, -word must not be there. A shell takes "…" away,
    and a -word by itself is taken for an option: write '"annual report"', and 'budget -draft' or -- budget -draft.

    Where more than 5,000 documents match, the best are those of the 5,000 that came in last; the others come after
    them, the newest first. Among more than 20,000 documents, words that most of them have are weighed in the 500
    that came in last, and where weighing would take too long, the newest come first. It is said when it is so; for
    programs, ranked_among is then 5000, 500 or 0 instead of null.
    """
    if source and not is_stored(app, source):
        app.require_source(source)
    path = app.require_home() / STORE
    hits = []
    if path.exists():
        from farm.store.search import search as find

        mark = ("", "") if app.json else MARK
        hits = find(path, " ".join(words), source=source, limit=limit, offset=offset, mark=mark)
    if app.json:
        show.listing(map(asdict, hits), (), is_json=True, nothing="")
        return
    if not hits:
        click.echo("nothing found", err=True)
    for hit in hits:
        click.echo(f"{click.style(show.printable(hit.title or hit.uri), bold=True)}  [{hit.source}]")
        click.echo(f"  {show.printable(hit.uri)}")
        click.echo(f"  {_bold(hit.snippet)}\n")
    if hits and (among := hits[0].ranked_among) is not None:
        click.echo(
            f"more than {among:,} documents match: the best of the {among:,} that came in last;"
            " another word narrows it down"
            if among
            else "too many documents match to rank them: the newest first; another word narrows it down",
            err=True,
        )


def _bold(snippet: str) -> str:
    """The words found in bold (click leaves that out where the output is no terminal)."""
    before, *rest = snippet.split(MARK[0])
    text = show.printable(before)
    for piece in rest:
        found, _, after = piece.partition(MARK[1])
        text += click.style(show.printable(found), bold=True) + show.printable(after)
    return text
