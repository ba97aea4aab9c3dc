"""A source as `status` and `sources list` show it: farm.toml, ledger and counts in one row. Cheap to load."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from farm.cli import in_force
from farm.ledger import views
from farm.words import when

if TYPE_CHECKING:
    import sqlite3

    from farm.cli.app import App

Row = dict[str, Any]
_OPEN = ("pending", "running", "retrying", "paused", "quarantined")


def sources(app: App, db: sqlite3.Connection, *, limits: bool = False) -> list[Row]:
    """Sources of the settings in force, in their order, then those that are not any more but have work left.

    `limits`: also how hard each may be asked, which takes reading its profile.
    """
    tables = in_force.tables(app)
    counts = views.source_counts(db)
    known = views.sources(db, {*tables, *counts})
    left = [name for name in known if name not in tables and any(counts.get(name, {}).get(s) for s in _OPEN)]
    fuses = views.fuses(db)
    rows = [
        _row(
            name,
            tables.get(name),
            known[name],
            counts.get(name),
            fuses.get(name),
            _retry(db, name, fuses.get(name), counts.get(name)),
        )
        for name in [*tables, *left]
    ]
    if limits:
        for row in rows:
            row["limits"] = _limits(tables.get(row["name"]) or {})
    return rows


def _retry(
    db: sqlite3.Connection, source: str, fuse: Row | None, counts: dict[str, int] | None
) -> tuple[float, str] | None:
    """The next try of a source that failed last and why; None while all is well, or the breaker knows both.

    A drain has no breaker: there the source fails when nothing of it is left to do but to try again.
    """
    if fuse is not None and fuse["until"] is not None:
        return None
    only_retries = counts is not None and not (counts["pending"] or counts["running"])
    retry = views.next_retry(db, source) if counts and counts["retrying"] and (fuse or only_retries) else None
    return (retry[0], fuse["message"] if fuse else retry[1]) if retry else None


def _row(
    name: str,
    table: Row | None,
    known: Row,
    counts: dict[str, int] | None,
    fuse: Row | None,
    retry: tuple[float, str] | None,
) -> Row:
    table = table or {}
    if not table:
        state = "removed"
    elif known["paused_at"]:
        state = "paused"
    else:
        state = "degraded" if known["degraded"] or (fuse and fuse["until"] is not None) else "active"
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
        "breaker": _breaker(fuse, retry),
        "next_try_at": retry[0] if retry else fuse["until"] if fuse else None,
        "last_run": known["last_run"],
        "jobs": counts or dict.fromkeys(views.STATES, 0),
    }


def _breaker(fuse: Row | None, retry: tuple[float, str] | None) -> Row:
    if fuse is None:
        return {"position": "closed", "failures": 0, "message": retry[1] if retry else ""}
    position = "closed"
    if fuse["until"] is not None:
        position = "open" if time.time() < fuse["until"] else "half_open"
    return {"position": position, "failures": fuse["failures"], "message": fuse["message"]}


def _limits(table: Row) -> Row:
    """As farm.toml and the connector's profile have them."""
    from farm import registry

    defaults = registry.profile_of(str(table.get("connector") or ""))
    limits = {**defaults["limits"], **_table(table, "limits")}
    return {
        "max_concurrent": {**defaults["profile"], **_table(table, "profile")}.get("max_concurrent"),
        "requests_per_second": limits.get("requests_per_second"),
        "burst": limits.get("burst", 1),
    }


def _table(table: Row, name: str) -> Row:
    found = table.get(name)
    return found if isinstance(found, dict) else {}


def trouble(row: Row) -> str:
    """What does not work, and when it is tried again, in words."""
    found = [row["degraded"]] if row["degraded"] else []
    if row["next_try_at"] is not None:
        now = time.time()
        next_try = "trying" if row["next_try_at"] <= now else f"next try {when(row['next_try_at'], now)}"
        found.append(f"{next_try}: {row['breaker']['message'] or 'it does not answer'}")
    return "; ".join(found)


def limits(row: Row) -> str:
    """How hard it may be asked, in words."""
    found = row["limits"]
    parts = [f"{found['max_concurrent']} at once"] if found["max_concurrent"] else []
    if found["requests_per_second"]:
        parts.append(f"{found['requests_per_second']:g}/s")
    return ", ".join(parts)


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
