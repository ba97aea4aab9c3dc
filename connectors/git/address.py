"""Where a repository is: `owner/name` on GitHub, a URL of any host, or a folder of this machine."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from connectors.files.names import path_of, uri_of

GITHUB = "https://github.com"
_OWNER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9_.-]+")
_SCP = re.compile(r"(?:[A-Za-z0-9_.-]+@)?[A-Za-z0-9_.-]+:(?!//)[^\s:].*")
SCHEMES = ("https", "http", "ssh", "git", "file")


@dataclass(frozen=True, slots=True)
class Repository:
    """One repository. `slug` is owner/name where it has an API, else empty."""

    label: str
    """What a person calls it; begins its keys where a source has several."""
    url: str
    """What git is given."""
    slug: str = ""
    web: str = ""
    """Where a person reads it; empty where nobody knows."""

    @property
    def host(self) -> str:
        """Host and port that git asks; empty for ssh and folders, which have no use for a token."""
        parts = urlsplit(self.url)
        return parts.netloc if parts.scheme in ("http", "https") else ""

    @property
    def folder(self) -> Path | None:
        """The folder, where it is one of this machine."""
        if self.url.startswith("/"):
            return Path(self.url)
        return Path(unquote(urlsplit(self.url).path)) if self.url.startswith("file://") else None

    @property
    def protocol(self) -> str:
        """As git's allow list names it."""
        if self.folder is not None:
            return "file"
        return urlsplit(self.url).scheme if "://" in self.url else "ssh"

    def uri(self, key: str, branch: str) -> str:
        """Where a person finds the file of this key."""
        path = quote(os.fsencode(path_of(key)))
        if self.web:
            return f"{self.web}/blob/{quote(branch)}/{path}"
        if self.folder is not None:
            return f"{uri_of(self.folder)}/{path}"
        return f"{self.url}#{path}"


def repository(text: str, base_url: str = GITHUB) -> Repository:
    """The repository that this names; raises ValueError with a sentence.

    >>> repository("octo/hello").url, repository("https://github.com/octo/hello.git").slug
    ('https://github.com/octo/hello.git', 'octo/hello')
    >>> repository("git@host.example:team/it.git").label
    'host.example/team/it'
    """
    text = text.strip()
    if any(c.isspace() or ord(c) < 32 for c in text) and not text.startswith(("/", "~")):
        raise ValueError(f"{text!r} is no address of a repository")
    if text.startswith(("/", "~")):
        folder = Path(os.path.normpath(Path(text).expanduser()))
        name = folder.parent.name if folder.name == ".git" else folder.name
        return Repository(label=_bare(name), url=str(folder))
    if _OWNER_NAME.fullmatch(text):
        return _on_github(_bare(text), base_url)
    if "://" in text:
        return _of_url(text, base_url)
    if _SCP.fullmatch(text) and not text.startswith("-"):
        host, _, path = text.partition(":")
        return Repository(label=_bare(f"{host.rpartition('@')[2]}/{path.strip('/')}"), url=text)
    raise ValueError(f'{text!r} is no repository: write "owner/name", a URL, or a path beginning with / or ~')


def _of_url(text: str, base_url: str) -> Repository:
    parts = urlsplit(text)
    if parts.scheme not in SCHEMES:
        raise ValueError(f"{text!r}: git over {parts.scheme} is not allowed; one of {', '.join(SCHEMES)}")
    if parts.password or (parts.username and parts.scheme in ("http", "https")):
        raise ValueError("an address holds no user or password: name the secret with the option token")
    path = _bare(parts.path.strip("/"))
    if parts.scheme == "file":
        return Repository(label=path.rpartition("/")[2], url=text)
    if not parts.hostname or not path or parts.hostname.startswith("-"):
        raise ValueError(f"{text!r} names no repository")
    if parts.scheme in ("http", "https") and parts.netloc == urlsplit(base_url).netloc:
        if _OWNER_NAME.fullmatch(path):
            return _on_github(path, base_url)
        raise ValueError(f"{text!r} names no repository of {base_url}: write owner/name")
    return Repository(label=f"{parts.hostname}/{path}", url=text)


def _on_github(slug: str, base_url: str) -> Repository:
    return Repository(label=slug, url=f"{base_url}/{slug}.git", slug=slug, web=f"{base_url}/{slug}")


def _bare(path: str) -> str:
    return path.rstrip("/").removesuffix(".git").rstrip("/")


def api_of(base_url: str) -> str:
    """The REST API of a GitHub.

    >>> api_of("https://github.com"), api_of("https://octo.ghe.com"), api_of("https://git.example.org")
    ('https://api.github.com', 'https://api.octo.ghe.com', 'https://git.example.org/api/v3')
    """
    parts = urlsplit(base_url)
    if parts.netloc == "github.com" or parts.netloc.endswith(".ghe.com"):
        return f"https://api.{parts.netloc}"
    return f"{base_url}/api/v3"


def is_loopback(netloc: str) -> bool:
    host = urlsplit(f"//{netloc}").hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
