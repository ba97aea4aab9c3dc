"""Backup and restore: a verified copy of ledger, store and settings, taken while the farm works.

The two databases are copied as of one moment, between a landing and its settling at most: whatever the
ledger's copy calls succeeded has landed in the store's, and no landing in it is unknown to the ledger. What was
under way then counts as lost after a restore, and runs again.

    <backup>/ledger.db  store.db  farm.toml  spool/  manifest.json      without its manifest it is none
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from farm import home as homes
from farm import sqlite, swap
from farm.errors import FarmError, LedgerDamaged, NewerSchema, StoreDamaged
from farm.fingerprint import fingerprint, sha256
from farm.home import LEDGER, STORE
from farm.ledger import ledger as ledgers
from farm.store import store as stores
from farm.words import iso, size

CONFIG = "farm.toml"
MANIFEST = "manifest.json"
FORMAT = 1
KNOWN: Mapping[str, int] = {LEDGER: ledgers.SCHEMA_VERSION, STORE: stores.SCHEMA_VERSION}
SPARE_BYTES = 16 * 1024 * 1024
PAGES_AT_ONCE = 4096
TRIES = 50
"""So often a pair of one moment is sought; the gap is far shorter than the shortest job."""

_PART = re.compile(r"ledger\.db|store\.db|farm\.toml|spool/[0-9]+\.jsonl")
_NEWEST = {
    LEDGER: "SELECT max(coalesce((SELECT at FROM transition ORDER BY id DESC LIMIT 1), 0),"
    " coalesce((SELECT requested_at FROM run ORDER BY id DESC LIMIT 1), 0))",
    STORE: "SELECT max(coalesce((SELECT max(landed_at) FROM landing), 0),"
    " coalesce((SELECT at FROM outbox ORDER BY seq DESC LIMIT 1), 0))",
}


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was written and verified."""

    path: str
    created_at: float
    newest_at: float
    """The newest change that it holds."""
    bytes: int
    jobs: int
    documents: int


@dataclass(frozen=True, slots=True)
class Restored:
    """A backup that took the place of what was there."""

    path: str
    created_at: float
    newest_at: float
    bytes: int
    jobs: int
    documents: int
    replaced: str
    """The folder that keeps what was there before; empty where there was nothing."""


class BackupUnusable(FarmError):
    """This is no backup, or it is damaged."""

    def __init__(self, path: object, why: str) -> None:
        super().__init__(f"{path} cannot be restored: {why}")


def backup(home: Path, target: Path, config: Path | None = None) -> Backup:
    """Copy the farm's state to the folder `target`, or, where that exists, to one named by the time in it.

    Raises FarmError with a sentence; then nothing is left of the copy.
    """
    if not (home / LEDGER).exists():
        raise FarmError(f"there is nothing to back up in {home}: no farm has worked there yet")
    now = time.time()
    target = _place(target.absolute(), now)
    with _in_words(target), _part(target) as part:
        _check_room(home, target.parent)
        with _moment(home) as moment:
            prints = {name: fingerprint(db) for name, db in moment.databases.items()}
            for name, db in moment.databases.items():
                _copy(db, part / name)
            _number_on(part)
            (part / "spool").mkdir(mode=0o700)
            for name, spool in moment.spools.items():
                with (part / name).open("xb") as copy:
                    shutil.copyfileobj(spool, copy)
        settings = config or home / CONFIG
        if settings.exists():
            shutil.copyfile(settings, part / CONFIG)
        manifest = _describe(part, home, now, prints)
        (part / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        for path in _files(part):
            path.chmod(0o600)
            swap.sync(path)
        for folder in (part / "spool", part):
            swap.sync(folder)
        verify(part)
        part.rename(target)
        swap.sync(target.parent)
    return Backup(str(target), **_summary(manifest))


def restore(home: Path, source: Path, force: bool = False) -> Restored:
    """Put a backup in the place of the farm's state; what it replaces is kept in home/replaced-<time>.

    Raises FarmRunning, BackupUnusable, NewerSchema, or FarmError (the state is newer), and has changed nothing.
    Killed at any moment it leaves the old state or the new one.
    """
    homes.prepare(home)
    with homes.Lock(home):
        manifest = verify(source)
        if not force:
            _refuse_newer(home, manifest)
        aside = _free(home / f"replaced-{_stamp(time.time())}")
        with _in_words(home):
            try:
                part = swap.stage(home)
                (part / "spool").mkdir(mode=0o700)  # what lies there now is of another ledger's attempts
                for name, facts in manifest["files"].items():
                    shutil.copyfile(source / name, part / name)
                    (part / name).chmod(0o600)
                    swap.sync(part / name)
                    if sha256(part / name) != facts["sha256"]:
                        raise BackupUnusable(source, f"{name} changed while it was read")
                if STORE not in manifest["files"]:  # nothing had landed: so nothing has
                    stores.Store.open(part / STORE).close()
                swap.sync(part / "spool")
            except BaseException:
                shutil.rmtree(home / swap.PART, ignore_errors=True)
                raise
            swap.commit(home, aside.name)
    return Restored(str(source), **_summary(manifest), replaced=str(aside) if aside.exists() else "")


def verify(folder: Path) -> dict[str, Any]:
    """The manifest of a backup whose every byte is as it was written; raises BackupUnusable or NewerSchema."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = dict(manifest["files"])
        supported = manifest["format"] <= FORMAT
    except (FileNotFoundError, NotADirectoryError):
        raise BackupUnusable(folder, f"it is no backup{_perhaps(folder)}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BackupUnusable(folder, f"its {MANIFEST} is damaged ({error})") from None
    if not supported:
        raise BackupUnusable(folder, "it was made by a newer farm: install that one")
    if LEDGER not in files or not all(_PART.fullmatch(name) for name in files):
        raise BackupUnusable(folder, f"its {MANIFEST} does not describe a farm's state")
    for name, facts in files.items():
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
        raise BackupUnusable(folder, f"{name} is damaged ({error})") from None


# -- the copy


@dataclass(frozen=True, slots=True)
class _Moment:
    """The databases as of one moment, each in a read transaction, and the spools of listings under way."""

    databases: dict[str, sqlite3.Connection]
    spools: dict[str, BinaryIO]


@contextmanager
def _moment(home: Path) -> Iterator[_Moment]:
    """The ledger first: a store a little ahead repeats work, one behind would lack what the ledger calls done.

    Ahead by an attempt that the ledger has not heard of is too much, its number would be given twice. A
    listing that has landed, and so has moved the cursor, must bring its spool: it names the units to extract.
    """
    with ExitStack() as stack:
        dbs: dict[str, sqlite3.Connection] = {}
        for name in (LEDGER, STORE):
            if (home / name).exists():
                dbs[name] = stack.enter_context(closing(sqlite.open_reader(home / name)))
                found = dbs[name].execute("PRAGMA user_version").fetchone()[0]
                if found > KNOWN[name]:
                    raise NewerSchema(home / name, found, KNOWN[name])
        live = homes.owner(home) is not None
        for last_try in (*[False] * TRIES, True):
            for db in dbs.values():
                db.execute("BEGIN")
                db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
            spools, whole = _open_spools(home, stack, dbs)
            fits = STORE not in dbs or _last_landed(dbs[STORE]) <= _last_attempt(dbs[LEDGER])
            if last_try or (fits and (whole or not live)):
                yield _Moment(dbs, spools)
                return
            for db in dbs.values():
                db.execute("ROLLBACK")


def _open_spools(
    home: Path, stack: ExitStack, dbs: Mapping[str, sqlite3.Connection]
) -> tuple[dict[str, BinaryIO], bool]:
    """The spools of listings that have landed and are not settled, and whether none was removed just now."""
    spools: dict[str, BinaryIO] = {}
    if STORE not in dbs:
        return spools, True
    running = dict(dbs[LEDGER].execute("SELECT id, launch_id FROM attempt WHERE outcome IS NULL").fetchall())
    landed = dbs[STORE].execute(
        "SELECT attempt_id FROM landing WHERE stage = 'discover'"
        " AND attempt_id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(running)),),
    )
    names = {f"spool/{running[attempt_id]}.jsonl" for (attempt_id,) in landed.fetchall()}
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            spools[name] = stack.enter_context((home / name).open("rb"))
    return spools, len(spools) == len(names)


def _copy(source: sqlite3.Connection, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as target:
        target.execute("PRAGMA synchronous = OFF")  # synced as a whole at the end
        source.backup(target, pages=PAGES_AT_ONCE, sleep=0)
        target.execute(
            "PRAGMA journal_mode = DELETE"
        )  # one file, that can be read where nothing can be written


def _number_on(part: Path) -> None:
    """Of a store that is ahead for good (its ledger was replaced): no attempt's number is given twice."""
    if not (part / STORE).exists():
        return
    with closing(sqlite.open_still(part / STORE)) as store:
        landed = _last_landed(store)
    with closing(sqlite3.connect(part / LEDGER)) as ledger, ledger:
        if landed > _last_attempt(ledger):
            ledger.execute("DELETE FROM sqlite_sequence WHERE name = 'attempt'")
            ledger.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('attempt', ?)", (landed,))


def _last_landed(store: sqlite3.Connection) -> int:
    return int(store.execute("SELECT coalesce(max(attempt_id), 0) FROM landing").fetchone()[0])


def _last_attempt(ledger: sqlite3.Connection) -> int:
    row = ledger.execute("SELECT seq FROM sqlite_sequence WHERE name = 'attempt'").fetchone()
    return int(row[0]) if row else 0


def _describe(part: Path, home: Path, now: float, prints: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest: of the files as they were written, of their rows as they were in the originals."""
    from farm import __version__

    files: dict[str, Any] = {}
    for path in _files(part):
        facts: dict[str, Any] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
        if path.name in KNOWN:
            with closing(sqlite.open_still(path)) as db:
                facts["schema_version"] = db.execute("PRAGMA user_version").fetchone()[0]
                facts["newest_at"] = db.execute(_NEWEST[path.name]).fetchone()[0]
                facts["content"] = prints[path.name]
                if path.name == STORE:
                    facts["documents"] = db.execute(
                        "SELECT count(*) FROM document WHERE deleted_at IS NULL"
                    ).fetchone()[0]
        files[str(path.relative_to(part))] = facts
    return {
        "format": FORMAT,
        "created_at": iso(now),
        "created": now,
        "home": str(home),
        "farm": __version__,
        "sqlite": sqlite3.sqlite_version,
        "python": sys.version.split()[0],
        "files": files,
    }


def _summary(manifest: Mapping[str, Any]) -> dict[str, Any]:
    files = manifest["files"]
    return {
        "created_at": manifest["created"],
        "newest_at": max(files[name]["newest_at"] for name in KNOWN if name in files),
        "bytes": sum(facts["bytes"] for facts in files.values()),
        "jobs": files[LEDGER]["content"]["rows"].get("job", 0),
        "documents": files.get(STORE, {}).get("documents", 0),
    }


# -- what is newer


def _refuse_newer(home: Path, manifest: Mapping[str, Any]) -> None:
    """Raises FarmError when what is there has changed since the backup. What cannot be read has no age."""
    for name in KNOWN:
        kept = manifest["files"].get(name, {}).get("newest_at", 0.0)
        found = _newest(home / name)
        if found > kept:
            raise FarmError(
                f"{home / name} has changed since this backup was made"
                f" ({iso(found)}; the backup's newest change is of {iso(kept) if kept else 'never'}):"
                " restore with --force; what it replaces is kept"
            )


def _newest(path: Path) -> float:
    if not path.exists():
        return 0.0
    with contextlib.suppress(FarmError, sqlite3.DatabaseError), closing(sqlite.open_reader(path)) as db:
        return float(db.execute(_NEWEST[path.name]).fetchone()[0])
    return 0.0


# -- folders and words


def _place(target: Path, now: float) -> Path:
    if not target.exists():
        return target
    if not target.is_dir():
        raise FarmError(f"{target} is a file: name a folder for the backup")
    return _free(target / f"farm-{_stamp(now)}")


def _stamp(now: float) -> str:
    return time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime(now))


def _free(path: Path) -> Path:
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


@contextmanager
def _part(target: Path) -> Iterator[Path]:
    """A folder beside the target, gone afterwards unless it has become the target."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _check_room(home: Path, where: Path) -> None:
    needed = SPARE_BYTES + sum(
        path.stat().st_size for name in KNOWN for path in home.glob(f"{name}*") if path.suffix != ".bak"
    )
    free = shutil.disk_usage(where).free
    if free < needed:
        raise FarmError(
            f"no space left for a backup in {where}: it needs {size(needed)}, {size(free)} are free"
        )


def _perhaps(folder: Path) -> str:
    """Where the backups may be that were meant."""
    found = sorted(path.parent.name for path in folder.glob(f"farm-*/{MANIFEST}")) if folder.is_dir() else []
    return f" (no {MANIFEST}); in it the newest is {folder / found[-1]}" if found else f" (no {MANIFEST})"


@contextmanager
def _in_words(where: Path) -> Iterator[None]:
    """What fails while files are copied, as a sentence."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        damaged = {LEDGER: LedgerDamaged, STORE: StoreDamaged}
        text = str(error)
        if "full" in text:
            raise FarmError(f"no space left in {where.parent}: nothing was changed") from error
        if "malformed" in text or "not a database" in text:
            raise damaged.get(where.name, LedgerDamaged)(where, text) from error
        raise FarmError(f"{where} cannot be written ({text}): nothing was changed") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise FarmError(f"no space left in {where.parent}: nothing was changed") from error
        raise FarmError(
            f"{error.filename or where}: {error.strerror or os.strerror(errno.EIO)}; nothing was changed"
        ) from error
