"""What somebody means who adds this: a folder, a vault, a mailbox, a repository."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from farm.errors import FarmError

FORGES = frozenset({"github.com", "gitlab.com", "codeberg.org", "bitbucket.org", "git.sr.ht"})
"""Hosts whose addresses are repositories also without `.git` at their end."""
WATCHED = frozenset({"local_files", "obsidian", "imap"})
"""What can be watched, and is unless somebody says otherwise."""
PATTERNS = {"local_files": {"include", "exclude"}, "github": {"include", "exclude"}, "obsidian": {"exclude"}}
"""Which of these options a connector has."""
SECRET = "password"
"""The option whose secret is named like the source."""

_SCP = re.compile(r"[\w.-]+@[\w.-]+:(?!/?/)[^\s]+")


@dataclass(frozen=True, slots=True)
class Recognised:
    """What is to be written into farm.toml, and what it shall be called unless somebody says."""

    connector: str
    options: dict[str, Any]
    place: str
    """Where it is, for a person."""
    stem: str
    needs_secret: bool = False

    @property
    def folder(self) -> Path | None:
        """The folder on this machine that is read, if it is one."""
        return Path(self.place) if self.place.startswith("/") else None

    def meaning(self, every: str, *, watch: bool) -> tuple[str, str]:
        """What it was taken for, and what that has the farm do. `every`: a time, in words."""
        saved = "read as it is saved" if watch else f"read every {every}"
        match self.connector:
            case "local_files":
                return "a folder", f"each file is {saved}"
            case "obsidian":
                return "an Obsidian vault", f"each note, with its links and tags, is {saved}"
            case "imap":
                return "a mailbox", f"messages are read {'as they come' if watch else f'every {every}'}"
        here = self.folder is not None and not _is_bare(self.folder)
        as_files = "; `--connector local_files` reads and watches the files as they are" if here else ""
        return "a git repository", f"what is committed is read, every {every}{as_files}"

    def is_same(self, table: dict[str, Any]) -> bool:
        """Whether this source's table is of the same place."""
        if table.get("connector") != self.connector:
            return False
        there = table.get("options", {})
        match self.connector:
            case "local_files" | "obsidian":
                path = there.get("path")
                return path is not None and _absolute(Path(str(path))) == Path(self.options["path"])
            case "github":
                known = there.get("repository", [])
                return self.options["repository"] in ([known] if isinstance(known, str) else list(known))
            case _:
                return all(there.get(key) == self.options[key] for key in ("host", "user"))


def folders_of(table: dict[str, Any]) -> list[Path]:
    """The folders of this machine that a source's table names."""
    options = table.get("options", {})
    match table.get("connector"):
        case "local_files" | "obsidian":
            named = options.get("path", [])
        case "github":
            named = options.get("repository", [])
        case _:
            return []
    words = [named] if isinstance(named, str) else list(named)
    return [_absolute(Path(word)) for word in words if str(word).startswith(("/", "~"))]


def recognise(word: str, connector: str | None = None) -> Recognised:
    """What this is. `connector`: what a folder shall be read as. Raises FarmError, in one sentence."""
    if "://" in word:
        address = urlsplit(word)
        if address.scheme in ("imap", "imaps"):
            return _mailbox(address)
        return _repository(word, address)
    if _SCP.fullmatch(word) and not Path(word).exists():
        return Recognised("github", {"repository": word}, word, _stem_of(word))
    folder = _folder(Path(word))
    connector = connector or _kind_of(folder)
    options = {"repository" if connector == "github" else "path": str(folder)}
    return Recognised(connector, options, str(folder), folder.name.removesuffix(".git"))


def _kind_of(folder: Path) -> str:
    if (folder / ".obsidian").is_dir():
        return "obsidian"
    return "github" if _is_bare(folder) or (folder / ".git").exists() else "local_files"


def _is_bare(folder: Path) -> bool:
    return (folder / "HEAD").is_file() and (folder / "objects").is_dir() and (folder / "refs").is_dir()


def _folder(path: Path) -> Path:
    absolute = _absolute(path)
    if not absolute.exists():
        raise FarmError(f"there is no folder {absolute}")
    if not absolute.is_dir():
        raise FarmError(
            f"{absolute} is a file, not a folder: add its folder, with --include {absolute.name!r}"
        )
    if not os.access(absolute, os.R_OK | os.X_OK):
        raise FarmError(f"the folder {absolute} may not be read by this user")
    return absolute


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path.expanduser()))  # noqa: PTH100  # a link in it stays the way its owner sees it


def _mailbox(address: SplitResult) -> Recognised:
    _refuse_password(address)
    user = unquote(address.netloc.rpartition("@")[0])
    try:
        host, port = address.hostname, address.port
    except ValueError:
        host, port = None, None
    if not host or not user:
        raise FarmError(f"{address.scheme}://{address.netloc} names no mailbox: write imaps://USER@HOST/")
    options: dict[str, Any] = {"host": host, "user": user}
    if port:
        options["port"] = port
    if address.scheme == "imap":
        options["security"] = "starttls"
    if folder := unquote(address.path.strip("/")):
        options["folders"] = [folder]
    return Recognised(
        "imap", options, f"{user} at {host}", user.partition("@")[0] or "mail", needs_secret=True
    )


def _repository(word: str, address: SplitResult) -> Recognised:
    _refuse_password(address)
    host, path = address.hostname or "", address.path.strip("/")
    if address.scheme == "file":
        return recognise(unquote(address.path), "github")
    known = address.scheme in ("git", "ssh") or path.endswith(".git") or host in FORGES
    if address.scheme not in ("git", "ssh", "http", "https") or not known or not path:
        raise FarmError(
            f"{word} is nothing that can be added: give a folder, imaps://USER@HOST/, or a repository's address"
        )
    if host in FORGES and address.scheme in ("http", "https"):
        path = "/".join(path.removesuffix(".git").split("/")[:2])  # not the branch or file somebody looked at
        word = f"https://{host}/{path}"
        if host == "github.com":
            if path.count("/") != 1:
                raise FarmError(f"{word} names no repository: write https://github.com/OWNER/NAME")
            return Recognised("github", {"repository": path}, word, _stem_of(path))
    return Recognised("github", {"repository": word}, word, _stem_of(path))


def _refuse_password(address: SplitResult) -> None:
    if ":" in address.netloc.rpartition("@")[0]:
        raise FarmError(
            "a password does not belong into an address: leave it out, and keep it with `farm secrets set`"
        )


def _stem_of(address: str) -> str:
    return address.rstrip("/").removesuffix(".git").replace(":", "/").rpartition("/")[2]
