"""Which paths count, by name alone: ignore files at every level, hidden names, include and exclude.

As git does it: a deeper ignore file overrules a shallower one, the last matching line of a file decides, and
nothing below an ignored folder comes back. `.farmignore` speaks after the `.gitignore` beside it, so that
`!drafts/` in it brings back what git leaves out. What `exclude` names is out for good.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from pathspec import GitIgnoreSpec

IGNORE_FILES = (".gitignore", ".farmignore")
NEVER = frozenset({".git", ".hg", ".svn", ".bzr", ".jj", "lost+found"})
"""Folders that hold no document of anybody's, also with `hidden = true`."""
STATE = frozenset({"farm.lock", "ledger.db"})
"""A folder with both of these is a farm's own: reading its log and its store would make more of both, for ever."""
_MAX_IGNORE_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Rules:
    """Compiled patterns of a source's options."""

    include: GitIgnoreSpec | None
    exclude: GitIgnoreSpec | None
    hidden: bool
    ignore_files: tuple[str, ...]

    @classmethod
    def of(cls, *, include: Sequence[str], exclude: Sequence[str], hidden: bool, gitignore: bool) -> Rules:
        return cls(
            include=GitIgnoreSpec.from_lines(include) if include else None,
            exclude=GitIgnoreSpec.from_lines(exclude) if exclude else None,
            hidden=hidden,
            ignore_files=IGNORE_FILES if gitignore else IGNORE_FILES[1:],
        )

    def hides(self, name: str) -> bool:
        return hides(name, hidden=self.hidden)


def hides(name: str, *, hidden: bool) -> bool:
    """Whether a file or folder of this name is left out whatever any pattern says."""
    return name in NEVER or (not hidden and name.startswith("."))


def is_in_state(root: str, path: str) -> bool:
    """Whether one of the folders from `root` down to the one that holds `path` is a farm's own."""
    folder = root
    for part in ("", *path.split("/")[:-1]):
        folder = f"{folder}/{part}" if part else folder
        if all(os.path.lexists(f"{folder}/{name}") for name in STATE):
            return True
    return False


@dataclass(frozen=True, slots=True)
class Level:
    """The rules as they stand in one folder; `prefix` is its path with a trailing slash, or empty."""

    rules: Rules
    prefix: str = ""
    specs: tuple[tuple[int, GitIgnoreSpec], ...] = field(default=())
    """Deepest first; with each the number of characters of a path that belong to the folders above it."""

    def enter(self, folder: str, name: str | None, names: set[str]) -> Level:
        """The level of the subfolder `name` (None: this one), whose absolute path and entries are given."""
        prefix = self.prefix if name is None else f"{self.prefix}{name}/"
        specs = self.specs
        for file in self.rules.ignore_files:
            if file in names and (spec := _read(f"{folder}/{file}")) is not None:
                specs = ((len(prefix), spec), *specs)
        return Level(self.rules, prefix, specs)

    def ignores(self, name: str, *, folder: bool) -> bool:
        """Whether the ignore files or `exclude` leave out this entry."""
        path = f"{self.prefix}{name}/" if folder else self.prefix + name
        exclude = self.rules.exclude
        if exclude is not None and exclude.check_file(path).include:
            return True
        for start, spec in self.specs:
            verdict = spec.check_file(path[start:]).include
            if verdict is not None:
                return verdict
        return False

    def includes(self, name: str) -> bool | None:
        """Whether `include` names this file; None where there is no `include`."""
        include = self.rules.include
        return None if include is None else bool(include.check_file(self.prefix + name).include)


def _read(path: str) -> GitIgnoreSpec | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        try:
            text = file.read(_MAX_IGNORE_BYTES).decode("utf-8-sig", "surrogateescape")
        except OSError:  # a folder or a device of that name
            return None
    lines = []
    for line in text.splitlines():
        try:
            GitIgnoreSpec.from_lines([line])
        except ValueError:  # a line git would not understand either leaves nothing out
            continue
        lines.append(line)
    return GitIgnoreSpec.from_lines(lines) if lines else None
