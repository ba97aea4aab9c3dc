"""Restoring a backup: verify it, copy it beside the state, then swap the two."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farm import home as homes
from farm import sqlite, swap
from farm.backup import manifest as manifests
from farm.backup.folders import free, in_words, stamp
from farm.backup.manifest import KNOWN, NEWEST, BackupUnusable
from farm.errors import FarmError
from farm.fingerprint import sha256
from farm.home import STORE
from farm.store.store import Store
from farm.words import iso


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


def restore(home: Path, source: Path, force: bool = False) -> Restored:
    """Put a backup in the place of the farm's state; what it replaces is kept in home/replaced-<time>.

    Raises FarmRunning, BackupUnusable, NewerSchema, or FarmError (the state is newer), and has changed nothing.
    Killed at any moment it leaves the old state or the new one.
    """
    homes.prepare(home)
    with homes.Lock(home):
        manifest = manifests.verify(source)
        if not force:
            _refuse_newer(home, manifest)
        aside = free(home / f"replaced-{stamp(time.time())}")
        with in_words(home / swap.PART):
            _stage(home, source, manifest)
        try:
            swap.commit(home, aside.name)
        except OSError as error:
            if not swap.is_pending(home):
                raise
            raise FarmError(
                f"{error.filename or home}: {error.strerror}; the backup counts, and `farm start` completes this"
            ) from error
    return Restored(str(source), **manifests.summary(manifest), replaced=str(aside) if aside.exists() else "")


def _stage(home: Path, source: Path, manifest: Mapping[str, Any]) -> None:
    """A verified copy of the backup beside the state."""
    part = swap.stage(home)
    try:
        (part / "spool").mkdir(mode=0o700)  # what lies there now is of another ledger's attempts
        for name, facts in manifest["files"].items():
            shutil.copyfile(source / name, part / name)
            (part / name).chmod(0o600)
            swap.sync(part / name)
            if sha256(part / name) != facts["sha256"]:
                raise BackupUnusable(source, f"{name} changed while it was read")
        if STORE not in manifest["files"]:  # nothing had landed: so nothing has
            Store.open(part / STORE).close()
        swap.sync(part / "spool")
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


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
        return float(db.execute(NEWEST[path.name]).fetchone()[0])
    return 0.0
