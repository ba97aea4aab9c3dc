"""What lies in a vault: every visible file with its version, also those that are only linked to."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from connectors.files.kinds import BINARY, BY_EXTENSION, Family, extension_of
from connectors.files.names import key_of, path_of
from connectors.files.reading import version_of
from connectors.files.rules import STATE, Level, Rules

NOTE, CANVAS, BASE = "md", "canvas", "base"


@dataclass(slots=True)
class Scan:
    """One look at a vault. `files`: version by key, in the order of the folders."""

    files: dict[str, str] = field(default_factory=dict)
    unread: list[tuple[str, str]] = field(default_factory=list)
    """(key, why) of folders that could not be listed: what they hold is not known to be gone."""


def scan(root: str, rules: Rules, alive: Callable[[int], None] = lambda seen: None) -> Scan:
    """Look at everything but hidden names (so .obsidian, .trash, .git) and what the rules leave out.

    A farm's own folder is passed over, links are not followed. `alive` is called once per folder, with the number of
    entries seen.
    """
    found, seen = Scan(), 0
    waiting = [("", Level(rules))]
    while waiting:
        folder, above = waiting.pop()
        absolute = f"{root}/{folder}" if folder else root
        try:
            with os.scandir(absolute) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except FileNotFoundError:
            if not folder:
                raise
            continue
        except OSError as error:
            if not folder:
                raise
            found.unread.append((key_of(folder), error.strerror or str(error)))
            continue
        seen += len(entries)
        alive(seen)
        if {entry.name for entry in entries} >= STATE:
            continue
        name = folder.rpartition("/")[2] if folder else None
        here = above.enter(absolute, name, {entry.name for entry in entries if entry.name[:1] == "."})
        below = []
        for entry in entries:
            if rules.hides(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                if not here.ignores(entry.name, folder=True):
                    below.append((here.prefix + entry.name, here))
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:  # gone since it was listed
                continue
            if stat.S_ISREG(status.st_mode) and not here.ignores(entry.name, folder=False):
                found.files[key_of(here.prefix + entry.name)] = version_of(status)
        waiting.extend(reversed(below))
    return found


def head_of(root: Path, key: str, most: int) -> bytes:
    """The first bytes of a file; nothing where it cannot be read."""
    try:
        descriptor = os.open(
            f"{root}/{path_of(key)}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        )
    except OSError:
        return b""
    try:
        return os.read(descriptor, most)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def is_note(key: str) -> bool:
    return key[-3:].lower() == ".md"


def is_unit(key: str, *, images: bool) -> bool:
    """Whether a file of this name has something to extract; the others are only linked to."""
    extension = extension_of(key.rpartition("/")[2])
    if extension in (NOTE, CANVAS, BASE):
        return True
    kind = BY_EXTENSION.get(extension)
    if kind is not None:
        return kind.family is not Family.IMAGE or images
    return bool(extension) and extension not in BINARY
