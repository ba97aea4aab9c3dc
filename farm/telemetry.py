"""What the farm says about itself: one line per event in `home/logs/farm.log`, rotated.

    2026-03-01T12:00:00.123Z INFO attempt.finished job=812 outcome=timed_out held_s=30.2

Names are defined once, in `Name`; what a library logs (APScheduler, watchdog) stands under `library.log`.
A log that cannot be written, as on a full disk, never stops the work: the line is dropped.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import time
from enum import StrEnum
from pathlib import Path

FILE_BYTES = 10_000_000
FILES_KEPT = 5


class Name(StrEnum):
    """Every event of the log."""

    FARM_STARTED = "farm.started"
    FARM_STOPPING = "farm.stopping"
    FARM_STOPPED = "farm.stopped"
    FARM_RECOVERED = "farm.recovered"
    LEDGER_BEHIND = "ledger.behind"  # of its store: the end of it was lost
    FARM_PRESSED = "farm.pressed"  # the machine is short of something: the budget shrank, or the disk is full
    FARM_RELIEVED = "farm.relieved"
    SETTINGS_LOADED = "settings.loaded"
    SETTINGS_REFUSED = "settings.refused"
    TRIGGER_FIRED = "trigger.fired"
    TRIGGER_REFUSED = "trigger.refused"
    WEBHOOK_RECEIVED = "webhook.received"
    WEBHOOK_REFUSED = "webhook.refused"
    WEBHOOK_LISTENING = "webhook.listening"
    RUN_STARTED = "run.started"
    RUN_FINISHED = "run.finished"
    JOBS_SUBMITTED = "jobs.submitted"
    JOB_QUARANTINED = "job.quarantined"
    ATTEMPT_STARTED = "attempt.started"
    ATTEMPT_FINISHED = "attempt.finished"
    LANDING_FAILED = "landing.failed"
    LINES_REJECTED = "lines.rejected"
    CELL_STARTED = "cell.started"
    CELL_ENDED = "cell.ended"
    CELL_KILLED = "cell.killed"
    STRAY_KILLED = "stray.killed"
    SOURCE_PAUSED = "source.paused"
    SOURCE_RESUMED = "source.resumed"
    SOURCE_REMOVED = "source.removed"
    SOURCE_DEGRADED = "source.degraded"
    SOURCE_RECOVERED = "source.recovered"
    BREAKER_OPENED = "breaker.opened"
    BREAKER_CLOSED = "breaker.closed"
    OPERATOR_ASKED = "operator.asked"
    CONTROL_FAILED = "control.failed"
    BACKUP_MADE = "backup.made"
    INTERNAL_ERROR = "internal.error"
    LIBRARY_LOG = "library.log"


LEVELS = {
    Name.ATTEMPT_STARTED: logging.DEBUG,
    Name.FARM_PRESSED: logging.WARNING,
    Name.SETTINGS_REFUSED: logging.ERROR,
    Name.TRIGGER_REFUSED: logging.WARNING,
    Name.WEBHOOK_REFUSED: logging.WARNING,
    Name.JOB_QUARANTINED: logging.WARNING,
    Name.LANDING_FAILED: logging.ERROR,
    Name.LINES_REJECTED: logging.WARNING,
    Name.CELL_KILLED: logging.WARNING,
    Name.STRAY_KILLED: logging.WARNING,
    Name.SOURCE_DEGRADED: logging.WARNING,
    Name.BREAKER_OPENED: logging.WARNING,
    Name.CONTROL_FAILED: logging.ERROR,
    Name.INTERNAL_ERROR: logging.ERROR,
}
"""Events that are not INFO."""

_events = logging.getLogger("farm.events")


def log(
    name: Name, /, level: int | None = None, error: BaseException | None = None, **fields: object
) -> None:
    """Write one event; fields in the order given, None left out; `error` adds its traceback below."""
    grade = LEVELS.get(name, logging.INFO) if level is None else level
    if _events.isEnabledFor(grade):
        _events.log(grade, "%s", line(name, **fields), exc_info=error)


def line(name: Name, /, **fields: object) -> str:
    """The event without its time and level.

    >>> line(Name.ATTEMPT_FINISHED, job=812, outcome="timed_out", held_s=30.20000001, message="too slow")
    'attempt.finished job=812 outcome=timed_out held_s=30.2 message="too slow"'
    """
    return " ".join(
        [name.value, *(f"{key}={_word(value)}" for key, value in fields.items() if value is not None)]
    )


def _word(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    text = str(value)
    if text and text.isprintable() and not any(mark in text for mark in ' "='):
        return text
    return json.dumps(text, ensure_ascii=False)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"
        if record.name == _events.name:
            text = record.getMessage()
        else:
            text = line(Name.LIBRARY_LOG, logger=record.name, message=record.getMessage())
        if record.exc_info and record.exc_info[0]:
            text += "\n" + "\n".join(
                "    " + row for row in self.formatException(record.exc_info).splitlines()
            )
        return f"{at} {record.levelname} {text}"


class _File(logging.handlers.RotatingFileHandler):
    """Rotation by size; readable by its owner only; a write that fails is dropped."""

    def _open(self):  # type: ignore[no-untyped-def]  # typeshed: TextIOWrapper[_WrappedBuffer], a private name
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace")

    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing to do: there is nowhere left to say it."""


def log_path(home: Path) -> Path:
    return home / "logs" / "farm.log"


def start(home: Path, *, level: int = logging.INFO) -> logging.Handler:
    """Send events, and the warnings of libraries, to the log file. Give the handler to `stop` at the end."""
    path = log_path(home)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handler = _File(path, maxBytes=FILE_BYTES, backupCount=FILES_KEPT, delay=True)
    handler.setFormatter(_Formatter())
    _events.setLevel(level)
    root = logging.getLogger()
    root.addHandler(handler)
    logging.captureWarnings(True)
    return handler


def stop(handler: logging.Handler) -> None:
    """Close the log of `start`."""
    logging.getLogger().removeHandler(handler)
    handler.close()
