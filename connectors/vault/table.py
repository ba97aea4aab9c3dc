"""What the last look at the vault saw: the cursor. It tells which links may lead elsewhere now.

A link's target depends on which files there are, so a note can change without being touched: when a file it
names comes, goes or moves. Then the note gets a new turn, which is part of its unit's version, and is read again.
Turns end when the note itself changes.

A note that moves keeps its version, so that the store renames it and what links to it. When its own links may
lead elsewhere from its new place, it gets its turn with the next look.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any
from urllib.parse import unquote

from connectors.vault.links import folded, name_in
from connectors.vault.scan import is_note

_CANDIDATE = re.compile(
    r"\[\[([^\[\]\n|#^]{1,500})|\]\(<?([^()\n#]{1,500})|\"file\"\s*:\s*\"([^\"\n]{1,500})\""
)
"""Anything that may be a link: which notes to read again, not what their links are."""


@dataclass(slots=True)
class Table:
    files: dict[str, str] = field(default_factory=dict)
    """Version (of the file) by key."""
    aliases: dict[str, list[str]] = field(default_factory=dict)
    turns: dict[str, int] = field(default_factory=dict)
    again: list[str] = field(default_factory=list)
    """Notes to be read again with the next look."""

    @classmethod
    def of(cls, cursor: Any) -> Table | None:
        """From a cursor; None where there is none, or none that is understood."""
        if not isinstance(cursor, dict) or not isinstance(cursor.get("files"), dict):
            return None
        return cls(
            cursor["files"],
            dict(cursor.get("aliases") or {}),
            dict(cursor.get("turns") or {}),
            list(cursor.get("again") or []),
        )

    def cursor(self) -> dict[str, Any]:
        found: dict[str, Any] = {"files": self.files}
        for name in ("aliases", "turns", "again"):
            if value := getattr(self, name):
                found[name] = value
        return found

    def version(self, key: str) -> str:
        """The unit's: the file's, and its turn, if it has had one."""
        turn = self.turns.get(key)
        return f"{self.files[key]}~{turn}" if turn else self.files[key]

    def names(self) -> str:
        """What links can lead to, in a word: while it is the same, every link leads where it led."""
        digest = blake2b(digest_size=12)
        for key in self.files:
            digest.update(f"{key}\n".encode())
        for key, names in sorted(self.aliases.items()):
            digest.update(f"{key}\t{names}\n".encode())
        return digest.hexdigest()

    def update(
        self, before: Table | None, read: Callable[[str], str], aliases_in: Callable[[str], list[str]]
    ) -> None:
        """Complete this table, whose files were just seen, from the one before.

        `read` gives a file's text, or nothing where it cannot be read; `aliases_in` what its properties say.
        """
        if before is None:
            for key in filter(is_note, self.files):
                self._learn(key, aliases_in)
            return
        moved = self._moved(before)
        for key, version in self.files.items():
            old = moved.get(key, key)
            if before.files.get(old) == version:
                if aliases := before.aliases.get(old):
                    self.aliases[key] = aliases
                if turn := before.turns.get(old):
                    self.turns[key] = turn
            elif is_note(key):
                self._learn(key, aliases_in)
        names = self._names_that_changed(before)
        due = {key for key in before.again if key in self.files}
        if names:
            due |= self._naming(names, before, moved, read)
        due |= {key for key in moved if _leads_elsewhere(key, moved[key], read)}
        for key in sorted(due):
            if key in moved:
                self.again.append(key)
            elif before.files.get(key) == self.files[key]:
                self.turns[key] = self.turns.get(key, 0) + 1

    def _learn(self, key: str, aliases_in: Callable[[str], list[str]]) -> None:
        if found := aliases_in(key):
            self.aliases[key] = found

    def _moved(self, before: Table) -> dict[str, str]:
        """New key to old one, where one file alone of that version came and one went."""
        gone, come = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
        for key, version in before.files.items():
            if key not in self.files:
                gone[version].append(key)
        for key, version in self.files.items():
            if key not in before.files:
                come[version].append(key)
        return {
            new[0]: old[0] for v, new in come.items() if len(new) == 1 and len(old := gone.get(v, [])) == 1
        }

    def _names_that_changed(self, before: Table) -> set[str]:
        names = {name_in(key) for key in before.files.keys() ^ self.files.keys()}
        for key in before.aliases.keys() | self.aliases.keys():
            old, new = before.aliases.get(key, []), self.aliases.get(key, [])
            if old != new:
                names |= {name_in(name) for name in set(old) ^ set(new)}
        return names

    def _naming(
        self, names: set[str], before: Table, moved: dict[str, str], read: Callable[[str], str]
    ) -> set[str]:
        """Notes and canvases, not themselves changed, that may have a link of one of these names."""
        return {
            key
            for key, version in self.files.items()
            if key.lower().endswith((".md", ".canvas"))
            and before.files.get(moved.get(key, key)) == version
            and not names.isdisjoint(candidates(read(key)))
        }


def _leads_elsewhere(key: str, old: str, read: Callable[[str], str]) -> bool:
    """Whether a note that went to another folder has links that are meant from where it lies."""
    if key.rpartition("/")[0] == old.rpartition("/")[0] or not is_note(key):
        return False
    text = read(key)
    return "](" in text or "[[." in text


def candidates(text: str) -> set[str]:
    """Names of files that the text may link to.

    >>> sorted(candidates("[[A/Note#x|y]] ![](My%20Pic.png) [[other]]"))
    ['my pic.png', 'note', 'other']
    """
    found = set()
    for wiki, markdown, file in _CANDIDATE.findall(text):
        found.add(name_in(folded(wiki or file or unquote(markdown)).rstrip("\\")))
    return found
