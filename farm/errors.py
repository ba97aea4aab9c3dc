"""Errors of the farm itself. The message is one sentence for a person: what is wrong and what to do.

A connector's errors are in `farm.connector`; expected endings of work are outcomes, not exceptions.
"""

from __future__ import annotations

from collections.abc import Sequence


class FarmError(Exception):
    """Ours; the command line prints the message and exits with `exit_code`."""

    exit_code = 1


class ConfigErrors(FarmError):
    """All that is wrong with a farm.toml, at once; each entry a sentence that begins with its place."""

    def __init__(self, errors: Sequence[str], config: str = "") -> None:
        self.errors = list(errors)
        self.config = config
        super().__init__("\n".join(self.errors))


class UnknownConnector(FarmError):
    """No connector has this name."""

    def __init__(self, name: str, close: Sequence[str] = (), why: str = "") -> None:
        self.name = name
        self.close = tuple(close)
        super().__init__(why or f"there is no connector {name!r}{did_you_mean(self.close)}")


class UnknownSource(FarmError):
    """farm.toml has no source of this name."""

    def __init__(self, name: str, close: Sequence[str] = ()) -> None:
        self.name = name
        super().__init__(f"there is no source {name!r}{did_you_mean(close)}")


class NotFound(FarmError):
    """What was named (a job, a run, a document) does not exist."""


class NotPossible(FarmError):
    """The request does not fit the state of what it names; nothing was changed."""


class NewerSchema(FarmError):
    """A database was written by a newer farm."""

    def __init__(self, path: object, found: int, known: int) -> None:
        self.found, self.known = found, known
        super().__init__(
            f"{path} has schema version {found}, this farm knows up to {known}: "
            "install the newer farm, or restore a backup made by this one"
        )


class FarmRunning(FarmError):
    """Another farm holds the state folder."""

    def __init__(self, pid: int | None = None, home: object = "") -> None:
        self.pid = pid
        who = f" (process {pid})" if pid else ""
        where = f" on {home}" if home else " on this state folder"
        super().__init__(
            f"a farm is already running{where}{who}: stop it with `farm stop`, or use another --home"
        )


class FarmNotRunning(FarmError):
    """The request needs a running farm."""

    def __init__(self, home: object = "") -> None:
        where = f" on {home}" if home else ""
        super().__init__(f"no farm is running{where}: start it with `farm start`")


class LedgerDamaged(FarmError):
    """ledger.db cannot be read as a ledger."""

    def __init__(self, path: object, why: str) -> None:
        super().__init__(f"{path} is damaged ({why}): restore a backup with `farm restore`")


class StoreDamaged(FarmError):
    """store.db cannot be read as a store."""

    def __init__(self, path: object, why: str) -> None:
        super().__init__(f"{path} is damaged ({why}): restore a backup with `farm restore`")


class HomeUnusable(FarmError):
    """The state folder cannot be made or written."""

    def __init__(self, path: object, why: str) -> None:
        super().__init__(f"the state folder {path} cannot be used: {why}")


class DiskFull(FarmError):
    """There is no room to write; nothing acknowledged was lost."""

    def __init__(self, path: object) -> None:
        super().__init__(
            f"no space left to write {path}: make room, then start the farm again; nothing is lost"
        )


def did_you_mean(close: Sequence[str]) -> str:
    """
    >>> did_you_mean(["a", "b"])
    '; did you mean a or b?'
    >>> did_you_mean([])
    ''
    """
    return f"; did you mean {' or '.join(close)}?" if close else ""
