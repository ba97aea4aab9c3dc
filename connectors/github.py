"""Repositories as a source: files by git, and on GitHub issues, pull requests, comments and releases by its API.

Discover brings a copy in the cache folder up to date and lists what it holds: every file of the newest commit,
every item of the shelf. Extract reads from that copy. So a listing is always whole, deletions follow from it,
and what was fetched once is not fetched again. See docs/connectors/github.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import ByteSize, Field, ValidationInfo, field_validator, model_validator

from connectors.files.options import Patterns
from connectors.git.address import GITHUB, Repository, is_loopback, repository
from connectors.git.command import Stopped
from connectors.github_api.events import keys_of
from connectors.github_api.reading import Reading
from farm import connector
from farm.connector import (
    Connector,
    ConnectorError,
    Context,
    Item,
    Listing,
    Log,
    RateLimited,
    SecretName,
    State,
    Unit,
)

SHORT_S = 300.0
"""Patience up to this is waited for; for longer, what is there lands first and the rest follows."""
Content = Literal["files", "issues", "pulls", "comments", "releases"]
EVERYTHING: tuple[Content, ...] = ("files", "issues", "pulls", "comments", "releases")


class GitHubOptions(connector.Options):
    """What `[sources.NAME.options]` may say."""

    repository: tuple[str, ...] = Field(min_length=1)
    """`owner/name`, a URL, or a path; or a list of them."""
    content: tuple[Content, ...] = EVERYTHING
    """What lands of it; only files where there is no API."""
    branch: str = ""
    """Empty: the default branch, whatever it is called."""
    include: Patterns = ()
    """Patterns as in .gitignore: only files that one of them names. Empty: every kind of document."""
    exclude: Patterns = ()
    """Patterns as in .gitignore: never these."""
    hidden: bool = False
    """Also files and folders whose name begins with a dot."""
    generated: bool = False
    """Also files that .gitattributes calls linguist-generated."""
    vendored: bool = False
    """Also files that .gitattributes calls linguist-vendored."""
    max_size: ByteSize = ByteSize(20_000_000)
    """Files larger than this are refused."""
    ocr: str = ""
    """Languages to recognise in images and scans, as tesseract names them. Empty: none."""
    token: SecretName | None = None
    """Name of the secret that holds a token. Empty: none."""
    user: str = "x-access-token"
    """The user that goes with the token when git asks for one."""
    app: str = ""
    """A GitHub App's id instead of a token."""
    app_key: SecretName | None = None
    """Name of the secret that holds the App's private key (PEM)."""
    app_installation: int = 0
    """0: the one for the first repository."""
    base_url: str = GITHUB
    """Another GitHub: "https://github.example.org"."""

    @field_validator("repository", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("token", "app_key", mode="before")
    @classmethod
    def _none_is_empty(cls, value: Any) -> Any:
        return None if value == "" else value

    @field_validator("base_url")
    @classmethod
    def _an_address(cls, value: str) -> str:
        parts = urlsplit(value.rstrip("/"))
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.path or parts.query:
            raise ValueError(f'{value!r} is no address of a GitHub: write "https://github.example.org"')
        return value.rstrip("/")

    @field_validator("branch")
    @classmethod
    def _a_branch(cls, value: str) -> str:
        bad = set(value) & set(" ~^:?*[\\\x7f") or any(ord(c) < 32 for c in value)
        if bad or ".." in value or "@{" in value or value.startswith(("-", "/", ".")) or value.endswith("/"):
            raise ValueError(f"{value!r} is no name of a branch")
        return value

    @field_validator("repository")
    @classmethod
    def _names_repositories(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for text in value:
            repository(text)
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> GitHubOptions:
        found = self.repositories
        labels = [one.label for one in found]
        twice = next((label for label in labels if labels.count(label) > 1), None)
        if twice:
            raise ValueError(f"repository: {twice!r} is named twice")
        if bool(self.app) != bool(self.app_key):
            raise ValueError("app and app_key belong together")
        if self.app and self.token:
            raise ValueError("either a token or an app, not both")
        if self.app and not any(one.slug for one in found):
            raise ValueError("app: none of these repositories is on GitHub")
        if self.token or self.app:
            hosts = {one.host for one in found if one.host}
            if len(hosts) > 1:
                raise ValueError("token: it would go to several hosts; make each a source of its own")
            for one in found:
                if urlsplit(one.url).scheme == "http" and not is_loopback(one.host):
                    raise ValueError(
                        f"token: it would cross the network in the open to {one.host}: use https"
                    )
        return self

    @property
    def repositories(self) -> list[Repository]:
        return [repository(text, self.base_url) for text in self.repository]


class GitHub(Connector[GitHubOptions]):
    name: ClassVar[str] = "github"
    Options = GitHubOptions

    def check(self, ctx: Context[GitHubOptions]) -> str | None:
        with Reading(ctx) as reading:
            try:
                for one in reading.repositories:
                    one.reach()
            except ConnectorError as error:
                return str(error)
            except Stopped:
                return "it was stopped"
        return None

    def discover(self, ctx: Context[GitHubOptions], cursor: Any) -> Iterator[Item]:
        cursor = cursor if isinstance(cursor, dict) else {}
        with Reading(ctx) as reading:
            try:
                if ctx.paths is None:
                    yield from self._everything(ctx, reading, cursor)
                else:
                    yield from self._named(reading, cursor, ctx.paths)
            except Stopped:
                return  # without a listing: the job runs again

    def _everything(
        self, ctx: Context[GitHubOptions], reading: Reading, cursor: Mapping[str, Any]
    ) -> Iterator[Item]:
        """Bring every repository up to date, then list all of them. One that fails keeps what it has."""
        failed: dict[str, ConnectorError] = {}
        limited: RateLimited | None = None
        for one in reading.repositories:
            try:
                one.pull(full=not cursor)
            except RateLimited as error:
                limited = error if limited is None else max(limited, error, key=_patience)
            except ConnectorError as error:
                failed[one.label] = error
        if failed and len(failed) == len(reading.repositories):
            raise next(iter(failed.values()))
        state = {**cursor, **{one.label: one.state for one in reading.repositories if one.state}}
        if limited is not None and (
            _patience(limited) <= SHORT_S or not (reading.changed or state != cursor)
        ):
            raise limited
        for label, why in failed.items():
            yield Log(f"{label}: {why}", level="rejected")
        if limited is not None:
            yield Log(f"{limited}; what is there lands, the rest follows", level="warning")
        for one in reading.repositories:
            if one.label in failed:
                continue
            if one.moved_from(cursor):
                yield Log(one.moved_from(cursor))
            for unit in one.units():
                if ctx.stop_requested:
                    return
                yield unit
        if state != cursor:
            yield State(state)
        yield Listing(
            complete=limited is None,
            unread=[one.prefix for one in reading.repositories if one.label in failed],
        )

    def _named(self, reading: Reading, cursor: Mapping[str, Any], paths: list[str]) -> Iterator[Item]:
        """Fetch only what these keys name; claims nothing about the rest."""
        state = dict(cursor)
        for one in reading.repositories:
            keys = one.own(paths)
            if not keys:
                continue
            yield from one.named(keys, cursor.get(one.label))
            if one.state and any(one.is_push(key) for key in keys):
                state[one.label] = {**cursor.get(one.label, {}), **one.state}
        if state != cursor:
            yield State(state)
        yield Listing(complete=False)

    def extract(self, ctx: Context[GitHubOptions], unit: Unit) -> Iterator[Item]:
        with Reading(ctx) as reading:
            try:
                yield from reading.extract(unit)
            except Stopped:
                return

    def webhook_keys(
        self, options: GitHubOptions, event: str, payload: Mapping[str, Any]
    ) -> list[str] | None:
        return keys_of(options.repositories, options.content, options.branch, event, payload)


def _patience(error: RateLimited) -> float:
    return error.retry_after_s or 60.0
