"""What an exception means: the outcome of the attempt, and the evidence kept of it.

The rule, in this order:

| raised | outcome |
|---|---|
| RateLimited | rate_limited |
| SourceUnavailable | transient, and its source's breaker hears of it |
| Transient | transient |
| Permanent | permanent |
| InvalidInput | invalid_input |
| MissingDependency, ImportError | dependency |
| MemoryError | out_of_memory |
| PermissionError | permanent, reason permission_denied |
| disk full (ENOSPC, EDQUOT), too many open files | transient, reason resource_exhausted |
| anything else, OSError and ConnectionError included | transient: to repeat is the safe side |
"""

from __future__ import annotations

import errno
import platform
import sys
import traceback
from dataclasses import dataclass

from farm import __version__
from farm.connector import (
    InvalidInput,
    MissingDependency,
    Permanent,
    RateLimited,
    SourceUnavailable,
    Transient,
)
from farm.core.job import Outcome, Reason
from farm.errors import UnknownConnector

MESSAGE_CHARS = 500
TRACEBACK_CHARS = 8000

_EXHAUSTED = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE})


class Refused(Permanent):
    """The farm refuses what a connector does; `reason` says which kind."""

    def __init__(self, message: str, reason: Reason) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Fault:
    outcome: Outcome
    message: str
    reason: Reason | None = None
    retry_after_s: float | None = None
    unavailable: bool = False


def classed(error: BaseException) -> Fault:
    """The documented rule."""
    message = _one_line(error)
    match error:
        case RateLimited():
            after = error.retry_after_s
            return Fault(Outcome.RATE_LIMITED, message, None, None if after is None else float(after))
        case SourceUnavailable():
            return Fault(Outcome.TRANSIENT, message, unavailable=True)
        case Transient():
            return Fault(Outcome.TRANSIENT, message)
        case Refused():
            return Fault(Outcome.PERMANENT, message, error.reason)
        case Permanent():
            return Fault(Outcome.PERMANENT, message)
        case InvalidInput():
            return Fault(Outcome.INVALID_INPUT, message)
        case MissingDependency() | UnknownConnector():
            return Fault(Outcome.DEPENDENCY, message)
        case ImportError():
            return Fault(Outcome.DEPENDENCY, _named(error, message))
        case MemoryError():
            return Fault(Outcome.OUT_OF_MEMORY, "it asked for more memory than its cap")
        case PermissionError():
            return Fault(Outcome.PERMANENT, message, Reason.PERMISSION_DENIED)
        case OSError() if error.errno in _EXHAUSTED:
            return Fault(Outcome.TRANSIENT, message, Reason.RESOURCE_EXHAUSTED)
        case _:
            return Fault(Outcome.TRANSIENT, _named(error, message))


def evidence(error: BaseException) -> str:
    """The traceback's last part; never raises, whatever the exception does."""
    try:
        return "".join(traceback.format_exception(error))[-TRACEBACK_CHARS:]
    except Exception:  # noqa: BLE001 - a connector's exception may fail in its own methods
        return "".join(traceback.format_tb(error.__traceback__))[-TRACEBACK_CHARS:]


def versions(connector: type | None) -> str:
    """What was at work."""
    parts = [f"farm {__version__}", f"python {platform.python_version()}"]
    if connector is not None:
        version = getattr(sys.modules.get(connector.__module__), "__version__", None)
        parts.insert(0, f"{connector.__name__} {version}" if version else connector.__name__)
    return ", ".join(parts)


def _one_line(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - as above
        text = ""
    text = " ".join(text.split()) or type(error).__name__
    return text if len(text) <= MESSAGE_CHARS else text[: MESSAGE_CHARS - 1] + "…"


def _named(error: BaseException, message: str) -> str:
    name = type(error).__name__
    return message if message == name else f"{name}: {message}"[:MESSAGE_CHARS]
