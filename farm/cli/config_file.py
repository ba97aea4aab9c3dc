"""Changing farm.toml for its owner: comments and order stay, and nothing invalid is ever written."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import ParseError, TOMLKitError

from farm.errors import ConfigErrors, FarmError, HomeUnusable

TEMPLATE = """\
# The settings of this farm. `farm sources check` tells what is wrong with them.

[farm]
workers = "auto"            # worker processes at a time: "auto" (up to 8), or 1 to 32
memory = "auto"             # what all jobs together may take: "auto", "4GB" or "50%"
# cpu = 2                   # cores that all jobs together may take; all by default
# grace = "10s"             # how long running jobs may finish when the farm stops

# A source is a folder, a mailbox, a program …: one table each. `farm add FOLDER` writes one like this:
#
# [sources.notes]
# connector = "local_files" # `farm connectors` lists them
# every = "15m"             # or cron = "0 * * * *" with timezone = "Europe/Berlin", or neither
# watch = true              # read a file as soon as it is saved
# priority = "normal"       # low, normal, high
# weight = 1                # its share when sources compete
#
# [sources.notes.options]   # the connector's own
# path = "~/notes"
#
# [sources.notes.profile]   # what one job may take; `farm profile measure notes` fills it in
# cpu = 0.5
# memory = "256MB"
# timeout = "30s"           # one job, from its own start
# stall = "10s"             # without a sign of life
# max_concurrent = 2        # jobs at a time
#
# [sources.notes.retry]     # a class (fast, conservative, provider_safe), or its fields
# class = "fast"
# max_attempts = 3
#
# Any program that prints JSON lines is a source, and so is every Singer tap:
#
# [sources.script]
# connector = "command"
# every = "1h"
# [sources.script.options]
# argv = ["python3", "collect.py"]
"""


@contextlib.contextmanager
def edited(config: Path) -> Iterator[tomlkit.TOMLDocument]:
    """The document to change; written after the block, if the settings are valid then, else ConfigErrors."""
    from farm import settings

    document = read(config)
    yield document
    text = tomlkit.dumps(document)
    settings.parse(text, config)
    write(config, text)


def read(config: Path) -> tomlkit.TOMLDocument:
    """The file as it is, or a new one."""
    try:
        return tomlkit.parse(config.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return tomlkit.parse(TEMPLATE)
    except ParseError as error:
        raise ConfigErrors([f"line {error.line}, column {error.col}: {error}"], str(config)) from None
    except UnicodeDecodeError:
        raise ConfigErrors([f"{config} is not UTF-8 text"]) from None
    except TOMLKitError as error:
        raise ConfigErrors([str(error)], str(config)) from None


def write(config: Path, text: str) -> None:
    """Replace the file in one step; a link stays a link, its mode stays."""
    target = config.resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=target.parent, prefix=".farm.toml.", delete=False
        ) as new:
            new.write(text)
            new.flush()
            os.fsync(new.fileno())
            os.fchmod(new.fileno(), mode)
        os.replace(new.name, target)  # noqa: PTH105  # Path.replace of a name we have as text
    except OSError as error:
        raise HomeUnusable(target.parent, error.strerror or str(error)) from None


def source_table(document: tomlkit.TOMLDocument, name: str) -> Any:
    """The [sources.NAME] table; raises FarmError when the file has none."""
    sources = document.get("sources", {})
    if name not in sources:
        raise FarmError(f"farm.toml has no source {name!r}")
    return sources[name]


def append_source(document: tomlkit.TOMLDocument, name: str, settings: dict[str, Any]) -> None:
    """Add [sources.NAME] at the end, inner dictionaries as tables of their own."""
    if "sources" not in document:
        document.add(tomlkit.nl())
        document.add("sources", tomlkit.table(is_super_table=True))
    document["sources"][name] = _table(settings)


def _table(values: dict[str, Any]) -> tomlkit.items.Table:
    table = tomlkit.table()
    for key, value in values.items():
        table.add(key, _table(value) if isinstance(value, dict) else value)
    return table
