"""How the farm opens its SQLite files: one durable writer, any number of readers, a version each.

A file's schema version is `PRAGMA user_version`. An older file is copied to `<name>.v<version>.bak` before
its migrations run, all in one transaction; a newer one is refused.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from farm.errors import DiskFull, FarmError, HomeUnusable, LedgerDamaged, NewerSchema, StoreDamaged

PAGE_CACHE_KIB = 32 * 1024
WAL_PAGES = 4000
"""The writer checkpoints after so many pages (16 MB; 32 of a store): rarer is faster, and the log stays small."""
PAGE_BYTES = 4096


def open_writer(
    path: Path,
    schema: str,
    version: int,
    migrations: Mapping[int, str],
    *,
    any_thread: bool = False,
    page_bytes: int = PAGE_BYTES,
) -> sqlite3.Connection:
    """The connection of the file's only writer, its schema at this version. `page_bytes` is for a file that it makes.

    Raises NewerSchema, LedgerDamaged, StoreDamaged, DiskFull or HomeUnusable, each with a sentence.
    """
    try:
        connection = sqlite3.connect(
            path, isolation_level=None, timeout=10, cached_statements=512, check_same_thread=not any_thread
        )
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found > version:  # before anything of ours is written into it
            connection.close()
            raise NewerSchema(path, found, version)
        path.chmod(0o600)
        for pragma in (
            f"page_size = {page_bytes}",
            "journal_mode = WAL",
            "synchronous = FULL",
            f"cache_size = -{PAGE_CACHE_KIB}",
            f"wal_autocheckpoint = {WAL_PAGES}",
            "journal_size_limit = 67108864",
            "secure_delete = OFF",
            "temp_store = MEMORY",
        ):
            connection.execute(f"PRAGMA {pragma}")
        if found == 0 and not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
            connection.executescript(f"BEGIN IMMEDIATE;\n{schema}\nPRAGMA user_version = {version};\nCOMMIT;")
        elif found < version:
            _migrate(connection, path, found, version, migrations)
        return connection
    except sqlite3.DatabaseError as error:
        raise in_words(path, error) from error
    except OSError as error:
        raise HomeUnusable(path.parent, str(error)) from error


def open_reader(path: Path, *, any_thread: bool = False) -> sqlite3.Connection:
    """A read-only connection; raises as `open_writer` does (HomeUnusable when there is no such file)."""
    try:
        connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode=ro",
            uri=True,
            isolation_level=None,
            timeout=10,
            check_same_thread=not any_thread,
        )
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        return connection
    except sqlite3.DatabaseError as error:
        raise in_words(path, error) from error


def open_still(path: Path) -> sqlite3.Connection:
    """A file that nobody writes, such as a backup: nothing is made beside it, and its folder may be read-only."""
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True, isolation_level=None)


def _migrate(
    connection: sqlite3.Connection, path: Path, found: int, version: int, migrations: Mapping[int, str]
) -> None:
    """Copy first, then all steps in one transaction: a failed migration leaves the file as it was."""
    copy = path.with_name(f"{path.name}.v{found}.bak")
    with sqlite3.connect(copy) as target:
        connection.backup(target)
    target.close()
    copy.chmod(0o600)
    steps = "\n".join(migrations[v] for v in range(found, version))
    try:
        connection.executescript(f"BEGIN IMMEDIATE;\n{steps}\nPRAGMA user_version = {version};\nCOMMIT;")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def is_full(error: sqlite3.Error) -> bool:
    """There was no room. The transaction is as if it had never begun; nothing is in doubt."""
    return "full" in str(error)


def in_words(path: Path, error: sqlite3.DatabaseError) -> FarmError:
    """SQLite's error as one of ours."""
    text = str(error)
    if is_full(error):
        return DiskFull(path)
    if isinstance(error, sqlite3.OperationalError) and "malformed" not in text:
        return HomeUnusable(path.parent, f"{path.name}: {text}")
    return LedgerDamaged(path, text) if path.name == "ledger.db" else StoreDamaged(path, text)
