"""Which files of a repository are documents: by options, by name, and by what .gitattributes says of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pathspec import GitIgnoreSpec

from connectors.files.kinds import BINARY, BY_EXTENSION, Family, Kind, extension_of
from connectors.files.rules import hides
from connectors.git.mirror import File

NAMES = ("export-ignore", "linguist-generated", "linguist-vendored", "binary", "filter")
"""Attributes that decide. working-tree-encoding needs nothing: in the repository itself the text is UTF-8."""

EMPTY = frozenset(
    {
        "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
        "473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813",
    }
)
"""The empty file, as git names it."""


class Verdict(StrEnum):
    READ = "read"
    LOOK = "look"
    """The name says nothing: its content decides."""
    LEAVE = "leave"


@dataclass
class Wanted:
    """The rules of one source; counts what it leaves out, and why."""

    include: GitIgnoreSpec | None
    exclude: GitIgnoreSpec | None
    hidden: bool
    generated: bool
    vendored: bool
    images: bool
    left_out: Counter[str] = field(default_factory=Counter)

    def verdict(self, file: File, said: Mapping[str, Mapping[str, str]]) -> Verdict:
        """`said`: attributes by path, of files and of folders."""
        why = self._left_out(file, said)
        if why:
            self.left_out[why] += 1
            return Verdict.LEAVE
        if self.include is not None:
            return Verdict.READ
        return Verdict.READ if _kind(file) is not None else Verdict.LOOK

    def _left_out(self, file: File, said: Mapping[str, Mapping[str, str]]) -> str:
        path, name = file.path, file.path.rpartition("/")[2]
        own = said.get(path, {})
        if any(said.get(place, {}).get("export-ignore") == "set" for place in (path, *folders_of(path))):
            return "export-ignore"
        if not self.generated and own.get("linguist-generated") in ("set", "true"):
            return "generated"
        if not self.vendored and own.get("linguist-vendored") in ("set", "true"):
            return "vendored"
        if own.get("filter") == "lfs":
            return "kept in Git LFS"
        if self.exclude is not None and self.exclude.match_file(path):
            return "excluded"
        if self.include is not None:
            return "" if self.include.match_file(path) else "not included"
        if any(hides(part, hidden=self.hidden) for part in path.split("/")):
            return "hidden"
        kind, extension = _kind(file), extension_of(name)
        if kind is None:
            binary = extension in BINARY or own.get("binary") == "set"
            return f".{extension} files" if binary and extension else "binary" if binary else ""
        if kind.family is Family.IMAGE:
            return "" if self.images else "images"
        if own.get("binary") == "set" and kind.family is not Family.RICH:
            return "binary"
        return "empty source files" if kind.family is Family.CODE and file.oid in EMPTY else ""


def _kind(file: File) -> Kind | None:
    return BY_EXTENSION.get(extension_of(file.path.rpartition("/")[2]))


def version_of(file: File) -> str:
    """The content, and what its name makes of it: a moved file keeps it, one renamed from .txt to .md does not."""
    kind = _kind(file)
    return f"{file.oid}.{kind.family}" if kind else file.oid


def folders_of(path: str) -> Iterable[str]:
    """
    >>> list(folders_of("a/b/c.txt"))
    ['a', 'a/b']
    """
    at = path.find("/")
    while at != -1:
        yield path[:at]
        at = path.find("/", at + 1)
