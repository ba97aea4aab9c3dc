"""Backup and restore: a verified copy of ledger, store and settings, taken while the farm works.

The two databases are copied as of one moment, between a landing and its settling at most: whatever the
ledger's copy calls succeeded has landed in the store's, and no landing in it is unknown to the ledger. What was
under way then counts as lost after a restore, and runs again.

    <backup>/ledger.db  store.db  farm.toml  spool/  manifest.json      without its manifest it is none
"""

from __future__ import annotations

from farm.backup.manifest import BackupUnusable, verify
from farm.backup.restoring import Restored, restore
from farm.backup.taking import Backup, backup

__all__ = ["Backup", "BackupUnusable", "Restored", "backup", "restore", "verify"]
