"""A source as `status` and `sources list` show it: farm.toml, ledger and counts in one row. Cheap to load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from farm.ledger import views

if TYPE_CHECKING:
    import sqlite3

    from farm.cli.app import App

Row = dict[str, Any]
_OPEN = ("pending", "running", "retrying", "paused", "quarantined")


def sources(app: App, db: sqlite3.Connection) -> list[Row]:
    """Configured sources in the file's order, then those that are not any more but have work left."""
    tables = app.tables()
    counts = views.source_counts(db)
    known = views.sources(db, {*tables, *counts})
    left = [name for name in known if name not in tables and any(counts.get(name, {}).get(s) for s in _OPEN)]
    return [_row(name, tables.get(name), known[name], counts.get(name)) for name in [*tables, *left]]


def _row(name: str, table: Row | None, known: Row, counts: dict[str, int] | None) -> Row:
    table = table or {}
    if not table:
        state = "removed"
    elif known["paused_at"]:
        state = "paused"
    else:
        state = "degraded" if known["degraded"] else "active"
    return {
        "name": name,
        "connector": table.get("connector"),
        "state": state,
        "every": table.get("every"),
        "cron": table.get("cron"),
        "watch": bool(table.get("watch", False)),
        "priority": table.get("priority", "normal"),
        "weight": table.get("weight", 1),
        "paused_at": known["paused_at"],
        "paused_by": known["paused_by"],
        "degraded": known["degraded"],
        "next_run_at": known["next_fire_at"],
        "last_run": known["last_run"],
        "jobs": counts or dict.fromkeys(views.STATES, 0),
    }


def schedule(row: Row) -> str:
    """When it runs, in words."""
    parts = []
    if row["every"]:
        parts.append(f"every {row['every']}")
    if row["cron"]:
        parts.append(f"cron {row['cron']}")
    if row["watch"]:
        parts.append("watched")
    return ", ".join(parts) or "by hand"
