"""Taking a backup: copy, describe, verify, and only then give it its name."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farm import sqlite, swap
from farm.backup import manifest as manifests
from farm.backup.folders import files, free, in_words, stamp
from farm.backup.manifest import CONFIG, KNOWN, MANIFEST, BackupUnusable
from farm.backup.moment import Moment, last_attempt, last_landed, moment
from farm.errors import FarmError
from farm.fingerprint import fingerprint
from farm.home import LEDGER, STORE
from farm.words import size

SPARE_BYTES = 16 * 1024 * 1024
PAGES_AT_ONCE = 4096


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


def backup(home: Path, target: Path, config: Path | None = None) -> Backup:
    """Copy the farm's state to the folder `target`, or, where that exists, to one named by the time in it.

    Raises FarmError with a sentence; then nothing is left of the copy.
    """
    if not (home / LEDGER).exists():
        raise FarmError(f"there is nothing to back up in {home}: no farm has worked there yet")
    if target.resolve().is_relative_to(home.resolve()):
        raise FarmError(
            f"{target} lies in the state folder that is to be backed up: name a folder outside {home}"
        )
    now = time.time()
    target = _place(target.absolute(), now)
    with in_words(target), _part(target) as part:
        _check_room(home, target.parent)
        with moment(home) as found:
            prints = _copy(home, found, part)
        settings = config or home / CONFIG
        if settings.exists():
            shutil.copyfile(settings, part / CONFIG)
        manifest = manifests.describe(part, home, now, prints)
        (part / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        for path in files(part):
            path.chmod(0o600)
            swap.sync(path)
        for folder in (part / "spool", part):
            swap.sync(folder)
        try:
            manifests.verify(part)
        except BackupUnusable as error:
            raise FarmError(
                f"{home} cannot be backed up: {error.why}; `farm doctor` examines the original"
            ) from error
        part.rename(target)
        swap.sync(target.parent)
    return Backup(str(target), **manifests.summary(manifest))


def _copy(home: Path, found: Moment, part: Path) -> dict[str, Any]:
    """Write all of this moment there; the fingerprints of the originals."""
    prints = {}
    for name, db in found.databases.items():
        try:
            prints[name] = fingerprint(db)
        except sqlite3.DatabaseError as error:
            raise sqlite.in_words(home / name, error) from error
        with closing(sqlite3.connect(part / name, isolation_level=None)) as target:
            target.execute("PRAGMA synchronous = OFF")  # synced as a whole at the end
            db.backup(target, pages=PAGES_AT_ONCE, sleep=0)
            # One file, that can also be read where nothing can be written.
            target.execute("PRAGMA journal_mode = DELETE")
    _number_on(part)
    (part / "spool").mkdir(mode=0o700)
    for name, spool in found.spools.items():
        with (part / name).open("xb") as copy:
            shutil.copyfileobj(spool, copy)
    return prints


def _number_on(part: Path) -> None:
    """Of a store that is ahead for good (its ledger was replaced): no attempt's number is given twice."""
    if not (part / STORE).exists():
        return
    with closing(sqlite.open_still(part / STORE)) as store:
        landed = last_landed(store)
    with closing(sqlite3.connect(part / LEDGER)) as ledger, ledger:
        if landed > last_attempt(ledger):
            ledger.execute("DELETE FROM sqlite_sequence WHERE name = 'attempt'")
            ledger.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('attempt', ?)", (landed,))


def _place(target: Path, now: float) -> Path:
    if not target.exists():
        return target
    if not target.is_dir():
        raise FarmError(f"{target} is a file: name a folder for the backup")
    return free(target / f"farm-{stamp(now)}")


@contextmanager
def _part(target: Path) -> Iterator[Path]:
    """A folder beside the target, gone afterwards unless it has become the target."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _check_room(home: Path, where: Path) -> None:
    needed = SPARE_BYTES + sum(
        path.stat().st_size for name in KNOWN for path in home.glob(f"{name}*") if path.suffix != ".bak"
    )
    room = shutil.disk_usage(where).free
    if room < needed:
        raise FarmError(
            f"no space left for a backup in {where}: it needs {size(needed)}, {size(room)} are free"
        )
