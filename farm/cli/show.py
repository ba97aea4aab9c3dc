"""What commands print: JSON for programs, tables and words for people."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from farm.words import for_programs, size, span, when

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its head, and what stands in it: a key, or a function of the row."""

    head: str
    of: str | Callable[[Row], object]
    right: bool = False
    wrap: bool = False
    """May be folded on a narrow terminal; others never are."""

    def text(self, row: Row) -> str:
        value = self.of(row) if callable(self.of) else row.get(self.of)
        return "" if value is None else printable(str(value))


def as_json(value: Any) -> None:
    """One value as JSON, its times in ISO 8601."""
    click.echo(json.dumps(for_programs(value), indent=2, ensure_ascii=False, default=str))


def listing(rows: Iterable[Row], columns: Sequence[Column], *, is_json: bool, nothing: str) -> None:
    """Many rows: a JSON array written as it is read, or a table. `nothing` is said when there are none."""
    if not is_json:
        table(rows, columns, nothing=nothing)
        return
    write = sys.stdout.write
    before = "["
    for row in rows:
        write(f"{before}\n  {json.dumps(for_programs(row), ensure_ascii=False, default=str)}")
        before = ","
    write("[]\n" if before == "[" else "\n]\n")


def table(rows: Iterable[Row], columns: Sequence[Column], *, nothing: str) -> None:
    """A table for people; whole lines where the output is not a terminal."""
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        click.echo(nothing, err=True)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(
        width=None if sys.stdout.isatty() else 10_000, markup=False, highlight=False, emoji=False
    )
    drawn = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        drawn.add_column(
            column.head,
            justify="right" if column.right else "left",
            no_wrap=not column.wrap,
            overflow="fold" if column.wrap else "ellipsis",
        )
    for row in itertools.chain([first], rows):
        drawn.add_row(
            *(Text(column.text(row), style=_STYLES.get(column.text(row), "")) for column in columns)
        )
    with console.capture() as captured:  # rich's own print has its way with broken pipes
        console.print(drawn)
    click.echo(captured.get(), nl=False)


def aligned(rows: Sequence[Sequence[object]]) -> None:
    """Left-aligned columns without rich, which takes 40 ms to import: for `farm status`."""
    lines = [[printable(str(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in itertools.zip_longest(*lines, fillvalue="")]
    for line in lines:
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)).rstrip()
        click.echo(text[: shutil.get_terminal_size().columns] if sys.stdout.isatty() else text)


def fields(pairs: Iterable[tuple[str, object]]) -> None:
    """Names and values below each other; those without a value are left out."""
    shown = [(name, printable(str(value))) for name, value in pairs if value not in (None, "")]
    widest = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        click.echo(f"{name.ljust(widest)}  {value}")


def printable(text: str) -> str:
    """The text on one line, nothing in it that steers a terminal.

    >>> printable("a\\nb\\x1b[31m")
    'a b\\ufffd[31m'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c in "\n\t\r" else "\ufffd" for c in text)


def ago(key: str) -> Callable[[Row], str]:
    """A cell: how long ago, or in what time."""
    return lambda row: when(row.get(key), time.time())


def bytes_of(key: str) -> Callable[[Row], str]:
    return lambda row: size(row.get(key))


def span_of(key: str) -> Callable[[Row], str]:
    return lambda row: "" if row.get(key) is None else span(row[key])


_STYLES = {
    "running": "cyan",
    "succeeded": "green",
    "ok": "green",
    "partial": "yellow",
    "retrying": "yellow",
    "paused": "yellow",
    "quarantined": "red",
    "failed": "red",
    "broken": "red",
}
