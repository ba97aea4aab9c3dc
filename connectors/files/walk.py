"""Listing a folder: every file that the rules let through, and what could not be looked at."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from connectors.files.kinds import BINARY, BY_EXTENSION, Family, extension_of
from connectors.files.names import key_of
from connectors.files.rules import STATE, Level, Rules, is_in_state
from connectors.files.sniff import HEAD_BYTES, worth_reading
from farm.connector import InvalidInput


@dataclass(frozen=True, slots=True)
class Found:
    path: str
    """Relative to the folder, as `os` gives it."""
    status: os.stat_result


@dataclass(frozen=True, slots=True)
class Missing:
    path: str
    """Where a document may have been: a file that is gone, or that is no document any more."""


@dataclass(slots=True)
class Walk:
    """One look at a folder. After it, `unread` and `left_out` say what it did not see."""

    root: str
    rules: Rules
    images: bool = False
    alive: Callable[[int], None] = lambda seen: None
    """Called with the number of entries seen, once per folder."""
    unread: list[tuple[str, str]] = field(default_factory=list)
    """(key, why) of folders that could not be listed."""
    left_out: Counter[str] = field(default_factory=Counter)
    """How many files of which sort are no documents."""
    seen: int = 0

    def everything(self) -> Iterator[Found]:
        """All files. Raises OSError when the folder itself cannot be listed."""
        yield from self._below("", Level(self.rules))

    def just(self, path: str) -> Iterator[Found | Missing]:
        """The file at this path, or the files below it; Missing where there is no document any more.

        Nothing for what the rules leave out by its name: the farm never held it.
        """
        level = Level(self.rules)
        *folders, name = path.split("/")
        if "\0" in path or not {"", ".", ".."}.isdisjoint((*folders, name)):
            return
        if is_in_state(self.root, path):
            return
        below = ""
        for part in (*folders, None):
            name_below = below.rpartition("/")[2] if below else None
            level = level.enter(self._at(below), name_below, set(self.rules.ignore_files))
            if part is None:
                break
            if self.rules.hides(part) or level.ignores(part, folder=True):
                return
            below = f"{below}/{part}" if below else part
            if _is_link(self._at(below)):
                return
        try:
            status = os.lstat(self._at(path))
        except (FileNotFoundError, NotADirectoryError):
            if self._named(level, name):
                yield Missing(path)
            return
        except OSError as error:
            self.unread.append((key_of(path), error.strerror or str(error)))
            return
        if stat.S_ISDIR(status.st_mode):
            if not self.rules.hides(name) and not level.ignores(name, folder=True):
                yield from self._below(path, level)
        elif self._named(level, name):
            yield Found(path, status) if self._wanted(level, name, status) else Missing(path)

    def _at(self, path: str) -> str:
        return f"{self.root}/{path}" if path else self.root

    def _below(self, top: str, level: Level) -> Iterator[Found]:
        waiting = [(top, level)]
        while waiting:
            folder, above = waiting.pop()
            absolute = self._at(folder)
            try:
                with os.scandir(absolute) as listing:
                    entries = sorted(listing, key=lambda entry: entry.name)
            except FileNotFoundError:
                if not folder:
                    raise
                continue  # gone since its own folder was listed
            except OSError as error:
                if not folder:
                    raise
                self.unread.append((key_of(folder), error.strerror or str(error)))
                continue
            self.seen += len(entries)
            self.alive(self.seen)
            name = folder.rpartition("/")[2] if folder else None
            names = {entry.name for entry in entries}
            if names >= STATE:
                continue
            here = above.enter(absolute, name, names)
            folders = []
            for entry in entries:
                if self.rules.hides(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if not here.ignores(entry.name, folder=True):
                        folders.append((here.prefix + entry.name, here))
                    continue
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:  # gone since it was listed
                    continue
                if not here.ignores(entry.name, folder=False) and self._wanted(here, entry.name, status):
                    yield Found(here.prefix + entry.name, status)
            waiting.extend(reversed(folders))

    def _named(self, level: Level, name: str) -> bool:
        """Whether the rules let a file of this name through."""
        return not self.rules.hides(name) and not level.ignores(name, folder=False)

    def _wanted(self, level: Level, name: str, status: os.stat_result) -> bool:
        """Whether this file, which the rules let through, is a document."""
        if not stat.S_ISREG(status.st_mode):
            # What a link inside the folder points to is found under its own name; outside is not ours.
            self.left_out["links, pipes, sockets and devices"] += 1
            return False
        included = level.includes(name)
        if included is not None:
            return included
        extension = extension_of(name)
        kind = BY_EXTENSION.get(extension)
        if kind is not None:
            if kind.family is Family.IMAGE and not self.images:
                self.left_out["images"] += 1
                return False
            if kind.family is Family.CODE and status.st_size == 0:
                self.left_out["empty source files"] += 1
                return False
            return True
        if extension in BINARY:
            self.left_out[f".{extension} files"] += 1
            return False
        if _worth_reading(self._at(level.prefix + name)):
            return True
        self.left_out["files without text"] += 1
        return False


def _worth_reading(path: str) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True  # extract will say what is wrong with it
    with os.fdopen(descriptor, "rb") as file:
        try:
            return worth_reading(file.read(HEAD_BYTES), file)
        except InvalidInput:
            return True  # the same
        except OSError:
            return True


def _is_link(path: str) -> bool:
    try:
        return stat.S_ISLNK(os.lstat(path).st_mode)
    except OSError:
        return False
