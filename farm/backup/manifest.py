"""What a backup says of itself, and whether it is so."""

from __future__ import annotations

import json
import re
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from farm import __version__, sqlite
from farm.backup.folders import files
from farm.errors import FarmError, NewerSchema
from farm.fingerprint import fingerprint, sha256
from farm.home import LEDGER, STORE
from farm.ledger import ledger as ledgers
from farm.store import store as stores
from farm.words import iso

CONFIG = "farm.toml"
MANIFEST = "manifest.json"
FORMAT = 1
KNOWN: Mapping[str, int] = {LEDGER: ledgers.SCHEMA_VERSION, STORE: stores.SCHEMA_VERSION}
"""The databases, with the schema version that this farm has."""

NEWEST: Mapping[str, str] = {
    LEDGER: "SELECT max(coalesce((SELECT at FROM transition ORDER BY id DESC LIMIT 1), 0),"
    " coalesce((SELECT requested_at FROM run ORDER BY id DESC LIMIT 1), 0))",
    STORE: "SELECT max(coalesce((SELECT max(landed_at) FROM landing), 0),"
    " coalesce((SELECT at FROM outbox ORDER BY seq DESC LIMIT 1), 0))",
}
"""When each was last changed by work."""

_PART = re.compile(r"ledger\.db|store\.db|farm\.toml|spool/[0-9]+\.jsonl")


class BackupUnusable(FarmError):
    """This is no backup, or it is damaged."""

    def __init__(self, path: object, why: str) -> None:
        self.why = why
        super().__init__(f"{path} cannot be restored: {why}")


def describe(folder: Path, home: Path, now: float, prints: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest: of the files as they were written, of their rows as they were in the originals."""
    described: dict[str, Any] = {}
    for path in files(folder):
        facts: dict[str, Any] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
        if path.name in KNOWN:
            with closing(sqlite.open_still(path)) as db:
                facts["schema_version"] = db.execute("PRAGMA user_version").fetchone()[0]
                facts["newest_at"] = db.execute(NEWEST[path.name]).fetchone()[0]
                facts["content"] = prints[path.name]
                if path.name == STORE:
                    facts["documents"] = db.execute(
                        "SELECT count(*) FROM document WHERE deleted_at IS NULL"
                    ).fetchone()[0]
        described[str(path.relative_to(folder))] = facts
    return {
        "format": FORMAT,
        "created_at": iso(now),
        "created": now,
        "home": str(home),
        "farm": __version__,
        "sqlite": sqlite3.sqlite_version,
        "python": sys.version.split()[0],
        "files": described,
    }


def summary(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a person wants to know of it."""
    parts = manifest["files"]
    return {
        "created_at": manifest["created"],
        "newest_at": max(parts[name]["newest_at"] for name in KNOWN if name in parts),
        "bytes": sum(facts["bytes"] for facts in parts.values()),
        "jobs": parts[LEDGER]["content"]["rows"].get("job", 0),
        "documents": parts.get(STORE, {}).get("documents", 0),
    }


def verify(folder: Path) -> dict[str, Any]:
    """The manifest of a backup whose every byte is as it was written; raises BackupUnusable or NewerSchema."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        parts = dict(manifest["files"])
        supported = manifest["format"] <= FORMAT
    except (FileNotFoundError, NotADirectoryError):
        raise BackupUnusable(folder, f"it is no backup{_perhaps(folder)}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BackupUnusable(folder, f"its {MANIFEST} is damaged ({error})") from None
    if not supported:
        raise BackupUnusable(folder, "it was made by a newer farm: install that one")
    if LEDGER not in parts or not all(_PART.fullmatch(name) for name in parts):
        raise BackupUnusable(folder, f"its {MANIFEST} does not describe a farm's state")
    for name, facts in parts.items():
        if name in KNOWN and facts.get("schema_version", 0) > KNOWN[name]:
            raise NewerSchema(folder / name, facts["schema_version"], KNOWN[name])
        try:
            intact = sha256(folder / name) == facts["sha256"]
        except OSError as error:
            raise BackupUnusable(folder, f"{name}: {error.strerror}") from None
        if not intact:
            raise BackupUnusable(folder, f"{name} is not what was written (its checksum differs)")
        if name in KNOWN:
            _verify_database(folder, name, facts)
    return manifest


def _verify_database(folder: Path, name: str, facts: Mapping[str, Any]) -> None:
    try:
        with closing(sqlite.open_still(folder / name)) as db:
            wrong = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if wrong != "ok":
                raise BackupUnusable(folder, f"{name} is damaged ({wrong})")
            if db.execute("PRAGMA foreign_key_check").fetchone():
                raise BackupUnusable(folder, f"{name} refers to rows that it does not have")
            if fingerprint(db) != facts["content"]:
                raise BackupUnusable(folder, f"{name} does not hold the rows that were copied")
    except sqlite3.DatabaseError as error:
        unread = isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error)
        what = "cannot be read" if unread else "is damaged"
        raise BackupUnusable(folder, f"{name} {what} ({error})") from None


def _perhaps(folder: Path) -> str:
    """Where the backups may be that were meant."""
    found = sorted(path.parent.name for path in folder.glob(f"farm-*/{MANIFEST}")) if folder.is_dir() else []
    return f" (no {MANIFEST}); in it the newest is {folder / found[-1]}" if found else f" (no {MANIFEST})"
