"""What a person reads when a command fails: one sentence, and where the rest is."""

from __future__ import annotations

import errno
import json
import os
import re
import sqlite3
import time
import traceback
from pathlib import Path

import click

from farm.errors import ConfigErrors, FarmError
from farm.telemetry import Name, line, log_path
from farm.words import iso


def report(error: Exception, home: Path) -> int:
    """Say it on standard error; the exit code."""
    if os.environ.get("FARM_DEBUG"):
        traceback.print_exception(error)
    for sentence in sentences(error, home):
        click.echo(f"farm: {sentence}", err=True)
    return error.exit_code if isinstance(error, FarmError) else 1


def report_json(error: Exception, home: Path) -> int:
    """Say it on standard error as one line of JSON; the exit code."""
    if isinstance(error, click.ClickException):
        said, code = [error.format_message()], error.exit_code
    else:
        if os.environ.get("FARM_DEBUG"):
            traceback.print_exception(error)
        said = sentences(error, home)
        code = error.exit_code if isinstance(error, FarmError) else 1
    fault = {"kind": _kind(error), "message": "; ".join(said), "messages": said, "exit_code": code}
    click.echo(json.dumps({"error": fault}, ensure_ascii=False), err=True)
    return code


def _kind(error: Exception) -> str:
    """A word for programs: the error's class, as `unknown_source`; `usage`, `database`, `system` or `internal`."""
    match error:
        case FarmError():
            return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__).lower()
        case click.ClickException():
            return "usage"
        case sqlite3.DatabaseError():
            return "database"
        case OSError():
            return "system"
        case _:
            return "internal"


def sentences(error: Exception, home: Path) -> list[str]:
    """What went wrong, for a person."""
    match error:
        case ConfigErrors():
            prefix = f"{error.config}: " if error.config else ""
            return [prefix + each for each in error.errors]
        case FarmError():
            return [str(error)]
        case sqlite3.DatabaseError():
            return [f"a database of the state folder cannot be used: {error}"]
        case OSError(errno=errno.ENOSPC):
            return ["no space left on the disk of the state folder: make room, nothing was lost"]
        case OSError() if error.strerror:
            where = f"{error.filename}: " if error.filename else ""
            return [f"{where}{error.strerror}"]
        case _:
            what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            return [f"this should not have happened ({what}); {_kept(error, home)}"]


def _kept(error: Exception, home: Path) -> str:
    """Write the traceback to the log of the state folder, where there is one."""
    path = log_path(home)
    rows = "".join(traceback.format_exception(error)).splitlines()
    try:
        with path.open("a", encoding="utf-8", errors="backslashreplace") as log:
            log.write(f"{iso(time.time())} ERROR {line(Name.INTERNAL_ERROR, asked_by='command line')}\n")
            log.writelines(f"    {row}\n" for row in rows)
    except OSError:
        return "run it again with FARM_DEBUG=1 to see where"
    return f"{path} has the details, FARM_DEBUG=1 shows them"
