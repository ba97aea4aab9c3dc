"""Where a link leads, as Obsidian has it.

- A path or a name, without regard to case; `.md` may be left out.
- The whole path goes first, then the files whose path ends with it: those in or below the linking note's own
  folder before the others, the shorter path before the longer one.
- `./` and `../` are meant from the linking note's folder, `/` from the vault.
- What no file answers to may be the alias of a note (Obsidian itself writes `[[Note|alias]]` for those): it
  leads there when one note alone has it, and is told apart by `by`.

>>> index = Index(["a/Note.md", "b/deep/Note.md", "pic.png"], {"b/deep/Note.md": ["Nickname"]})
>>> index.resolve("note", "a/other.md"), index.resolve("deep/Note", "a/other.md")
(('a/Note.md', 'name'), ('b/deep/Note.md', 'path'))
>>> index.resolve("PIC.png", "x.md"), index.resolve("nickname", "x.md"), index.resolve("nowhere", "x.md")
(('pic.png', 'name'), ('b/deep/Note.md', 'alias'), (None, ''))
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

Aliases = Mapping[str, Iterable[str]]


@dataclass(frozen=True, slots=True)
class Target:
    """A link as it is written: `[[path#heading^block|alias]]`."""

    path: str
    heading: str = ""
    block: str = ""
    alias: str = ""

    @classmethod
    def of(cls, inner: str) -> Target:
        r"""From what stands between the brackets.

        >>> Target.of("Note#One#Two|shown")
        Target(path='Note', heading='One#Two', block='', alias='shown')
        >>> Target.of("Note#^a1\\|in a table").block, Target.of("#Here").heading
        ('a1', 'Here')
        """
        link, bar, alias = inner.partition("|")
        if bar and link.endswith("\\"):
            link = link[:-1]
        path, _, below = link.partition("#")
        block = ""
        if "^" in below and (at := below.rfind("^")) in (0, below.rfind("#") + 1):
            below, block = below[:at].rstrip("#"), below[at + 1 :]
        return cls(path.strip(), below.strip(), block.strip(), alias.strip())


@lru_cache(65_536)
def folded(name: str) -> str:
    """As names are compared: composed, without case, no-break spaces as spaces."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", name.replace("\u00a0", " ").replace("\u202f", " ")).casefold()


def name_in(path: str) -> str:
    """What of a link's path any file that answers it must be called: its last part, without `.md`.

    >>> name_in("Folder/Note.MD"), name_in("../pic.png")
    ('note', 'pic.png')
    """
    return folded(path.rpartition("/")[2].strip()).removesuffix(".md")


class Index:
    """The files of a vault by name. `aliases` may be a function: it is asked once, when it is needed."""

    def __init__(self, keys: Iterable[str], aliases: Aliases | Callable[[], Aliases]) -> None:
        self._named: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for key in keys:
            path = folded(key)
            self._named[path.rpartition("/")[2]].append((path, key))
        self._aliases = aliases
        self._by_alias: dict[str, set[str]] | None = None

    def resolve(self, path: str, source: str) -> tuple[str | None, str]:
        """The key of the file that this path in a link of `source` leads to, and by what it was found."""
        if not path:
            return source, "path"  # [[#heading]]
        wanted = folded(path)
        name = wanted.rpartition("/")[2]
        candidates = self._named.get(name)
        if candidates is None and not name.endswith(".md"):
            name, wanted = f"{name}.md", f"{wanted}.md"
            candidates = self._named.get(name)
        if candidates is not None:
            found = _best(wanted, name, candidates, folded(source).rpartition("/")[0])
            if found is not None:
                return found, "path" if "/" in wanted else "name"
        return self._alias(path)

    def _alias(self, path: str) -> tuple[str | None, str]:
        if self._by_alias is None:
            known = self._aliases() if callable(self._aliases) else self._aliases
            self._by_alias = defaultdict(set)
            for key, names in known.items():
                for name in names:
                    self._by_alias[folded(name)].add(key)
        keys = self._by_alias.get(folded(path), set())
        return (next(iter(keys)), "alias") if len(keys) == 1 else (None, "")


def _best(wanted: str, name: str, candidates: list[tuple[str, str]], folder: str) -> str | None:
    if wanted == name and len(candidates) == 1:
        return candidates[0][1]
    if wanted.startswith(("./", "../")):
        wanted, must_be_exact = _from(folder, wanted), True
    else:
        must_be_exact = wanted.startswith("/")
        wanted = wanted.lstrip("/")
    for path, key in candidates:
        if path == wanted:
            return key
    if must_be_exact:
        return None
    ends = [(path, key) for path, key in candidates if path.endswith(f"/{wanted}")]
    if not ends:
        return None
    near = f"{folder}/" if folder else ""
    return min(ends, key=lambda found: (not found[0].startswith(near), len(found[0]), found[0]))[1]


def _from(folder: str, relative: str) -> str:
    parts = folder.split("/") if folder else []
    for part in relative.split("/"):
        if part == "..":
            if not parts:
                return ""  # above the vault
            parts.pop()
        elif part not in (".", ""):
            parts.append(part)
    return "/".join(parts)
