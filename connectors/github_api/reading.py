"""One job's look at the repositories of a source: each with its copy of the files and its shelf of items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from pathspec import GitIgnoreSpec

from connectors.files.extract import parts_of
from connectors.files.names import key_of, path_of
from connectors.files.reading import megabytes
from connectors.files.sniff import HEAD_BYTES, worth_reading
from connectors.git.address import Repository, api_of
from connectors.git.command import Credential
from connectors.git.mirror import File, Head, Mirror
from connectors.git.wanted import NAMES, Verdict, Wanted, folders_of, version_of
from connectors.github_api.items import document, kinds_of
from connectors.github_api.shelf import Shelf
from farm.connector import (
    Context,
    Document,
    Gone,
    InvalidInput,
    Item,
    MissingDependency,
    Permanent,
    Unit,
)

if TYPE_CHECKING:
    from connectors.github import GitHubOptions
    from connectors.github_api.client import Client
    from connectors.github_api.walk import Walker

LFS = b"version https://git-lfs.github.com/spec/"
PUSH = "/refs/heads/"


class Reading:
    """Use it in a `with` block: what it opened is closed at its end."""

    def __init__(self, ctx: Context[GitHubOptions]) -> None:
        self.ctx = ctx
        self.options = ctx.options
        self._shelf: Shelf | None = None
        self._client: Client | None = None
        found = ctx.options.repositories
        self.repositories = [Reader(self, one, f"{one.label}/" if len(found) > 1 else "") for one in found]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            self._client.close()
        if self._shelf is not None:
            self._shelf.close()

    @property
    def changed(self) -> bool:
        return any(one.changed for one in self.repositories)

    @property
    def shelf(self) -> Shelf:
        if self._shelf is None:
            self._shelf = Shelf(self.ctx.cache / "shelf.db")
        return self._shelf

    @property
    def client(self) -> Client:
        if self._client is None:
            self._client = self._made_client()
        return self._client

    def token(self) -> str:
        return self.client.token() if self.options.app else self._secret(self.options.token)

    def extract(self, unit: Unit) -> Iterator[Item]:
        label = unit.data.get("repository")
        for one in self.repositories:
            if one.label == label:
                yield from one.extract(unit)
                return
        raise Permanent(f"{label} is not among the repositories of this source any more")

    def _secret(self, name: str | None) -> str:
        return self.ctx.secret(name).strip() if name else ""

    def _made_client(self) -> Client:
        try:
            from connectors.github_api.client import Client
        except ImportError:
            raise MissingDependency(
                "GitHub's API needs urllib3: pip install 'connector-farm[github]', or content = [\"files\"]"
            ) from None
        client = Client(
            api_of(self.options.base_url),
            turn=self.ctx.throttle,
            blocked=self._note_blocked,
            blocked_until=self.shelf.mark("blocked_until") or 0.0,
        )
        if self.options.app:
            from connectors.github_api.login import AppLogin

            slug = next(one.remote.slug for one in self.repositories if one.remote.slug)
            at_login = Client(client.api, turn=self.ctx.throttle)
            client.token = AppLogin(
                self.options.app,
                self.options.app_installation,
                lambda: self._secret(self.options.app_key),
                slug,
                at_login,
            ).token
        else:
            client.token = lambda: self._secret(self.options.token)
        return client

    def _note_blocked(self, until: float) -> None:
        with self.shelf.writing():
            self.shelf.set_mark("blocked_until", until)


class Reader:
    """One repository."""

    def __init__(self, reading: Reading, remote: Repository, prefix: str) -> None:
        ctx, options = reading.ctx, reading.options
        self.remote = remote
        self.label = remote.label
        self.state: dict[str, str] = {}
        """The cursor's part of this repository: branch and commit, and that its items were seen."""
        self._reading = reading
        self._ctx = ctx
        self._options = options
        self.prefix = prefix
        """How the keys of its units begin."""
        self._head: Head | None = None
        self._wanted: list[tuple[File, Verdict]] = []
        self._walker: Walker | None = None
        name = quote(remote.label, safe="")
        self._mirror = Mirror(
            ctx.cache / name,
            ctx.scratch / name,
            remote,
            branch=options.branch,
            credential=self._credential,
            turn=ctx.throttle,
            stop=lambda: ctx.stop_requested,
            alive=lambda: ctx.progress(message=f"fetching {remote.label}"),
        )

    # -- discover

    def reach(self) -> None:
        """Raises what stands in the way of reading it."""
        if "files" in self._options.content or not self.remote.slug:
            self._mirror.look()
        if self._streams:
            answer = self._reading.client.get(f"/repos/{self.remote.slug}")
            if answer.data is None:
                raise Permanent(
                    f"{self.label} does not exist, or may not be read without a token that may see it"
                )

    def pull(self, *, full: bool) -> None:
        """Bring the copy up to date: files first, then the items."""
        if self._has_files:
            self._pull_files()
        if self._streams:
            self._walked.renew(self._streams, full=full)
            self.state = {"items": "seen", **self.state}

    @property
    def changed(self) -> bool:
        return self._walker is not None and self._walker.changed > 0

    def moved_from(self, cursor: Mapping[str, Any]) -> str:
        """A sentence, where another branch is the default now."""
        before = (cursor.get(self.label) or {}).get("branch")
        now = self.state.get("branch")
        if before and now and before != now:
            return f"{self.label}: the branch is {now} now, and was {before}"
        return ""

    def units(self) -> Iterator[Unit]:
        """All there is."""
        yield from self._files()
        for path, version in self._reading.shelf.versions(self.remote.slug) if self._streams else ():
            if self._wants(path):
                yield self._item_unit(path, version)

    def own(self, keys: Iterable[str]) -> list[str]:
        """Those of these keys that are of this repository, without its name."""
        return [key.removeprefix(self.prefix) for key in keys if key.startswith(self.prefix)]

    @staticmethod
    def is_push(key: str) -> bool:
        return key.startswith(PUSH)

    def named(self, keys: list[str], cursor: Mapping[str, Any] | None) -> Iterator[Item]:
        """What became of these keys."""
        pushed = any(self.is_push(key) for key in keys)
        files = {path_of(key) for key in keys if not key.startswith("/")}
        if (pushed or files) and self._has_files:
            self._pull_files()
            since = (cursor or {}).get("commit")
            commit = self.state.get("commit")
            moved = self._mirror.difference(since, commit) if pushed and since and commit else None
            now = (moved.now | files) if moved else None if pushed else files
            listed = set()
            for unit in self._files(now):
                listed.add(unit.key)
                yield unit
            gone = (moved.gone if moved else frozenset()) | files
            yield from (
                Gone(key) for path in sorted(gone) if (key := self.prefix + key_of(path)) not in listed
            )
        for path in sorted({key for key in keys if key.startswith("/") and not self.is_push(key)}):
            if not (self._streams and self._wants(path)):
                continue
            version = self._walked.one(path)
            yield Gone(self.prefix + path) if version is None else self._item_unit(path, version)

    # -- extract

    def extract(self, unit: Unit) -> Iterator[Item]:
        oid = unit.data.get("oid")
        if oid is None:
            yield from self._extract_item(unit)
            return
        size, data = self._mirror.read(str(oid), self._options.max_size)
        if size > self._options.max_size:
            raise InvalidInput(
                f"too large: {megabytes(size)}, and max_size is {megabytes(self._options.max_size)}"
            )
        if unit.data.get("look") and not worth_reading(data[:HEAD_BYTES], BytesIO(data)):
            return  # no document: the unit is noted, and not looked at again
        if not data:
            raise InvalidInput("empty file")
        if data.startswith(LFS):
            raise InvalidInput("kept in Git LFS: the repository holds only a pointer to it")
        path = path_of(unit.key.removeprefix(self.prefix))
        parts = parts_of(data, path, ocr=self._options.ocr)
        yield Document(
            key=unit.key,
            text=parts.text,
            title=parts.title or PurePosixPath(unit.key).stem,
            uri=unit.uri,
            mime=parts.mime,
            created_at=parts.created_at,
            modified_at=parts.modified_at,
            metadata={"repository": self.label, "blob": oid, **parts.metadata},
            elements=parts.elements,
        )

    def _extract_item(self, unit: Unit) -> Iterator[Item]:
        path = unit.key.removeprefix(self.prefix)
        body = self._reading.shelf.body(self.remote.slug, path)
        if body is None:
            if self._walked.one(path) is None:
                yield Gone(unit.key)
                return
            body = self._reading.shelf.body(self.remote.slug, path)
        assert body is not None
        yield document(unit.key, path, body, self.label)

    # -- how

    @property
    def _has_files(self) -> bool:
        return "files" in self._options.content

    @property
    def _streams(self) -> list[str]:
        """The listings of the API that are wanted."""
        wanted = set(self._options.content)
        if not self.remote.slug:
            return []
        streams = ["issues"] if wanted & {"issues", "pulls"} else []
        if "comments" in wanted:
            streams += ["comments"] if streams else []
            streams += ["reviews"] if "pulls" in wanted else []
        return streams + (["releases"] if "releases" in wanted else [])

    def _wants(self, path: str) -> bool:
        kinds = kinds_of(path)
        return bool(kinds) and kinds <= set(self._options.content)

    @property
    def _walked(self) -> Walker:
        if self._walker is None:
            client = self._reading.client
            from connectors.github_api.walk import Walker

            self._walker = Walker(
                self.remote.slug,
                client,
                self._reading.shelf,
                alive=lambda pages: self._ctx.progress(done=pages, message=f"asking about {self.label}"),
            )
        return self._walker

    def _pull_files(self) -> None:
        self._head = self._mirror.look()
        commit = self._mirror.update(self._head)
        self.state = {"branch": self._head.branch, "commit": commit} if commit else {}
        self._wanted = self._listed(commit)
        self._mirror.ensure(file.oid for file, _ in self._wanted)

    def _listed(self, commit: str) -> list[tuple[File, Verdict]]:
        """The files of this commit that are wanted."""
        if not commit:
            return []
        files = list(self._mirror.tree(commit))
        rules = self._rules()
        said = self._attributes(commit, files)
        verdicts = ((file, rules.verdict(file, said)) for file in files)
        wanted: list[tuple[File, Verdict]] = [
            (file, verdict) for file, verdict in verdicts if verdict is not Verdict.LEAVE
        ]
        if rules.left_out:
            counts = ", ".join(f"{count} {sort}" for sort, count in rules.left_out.most_common(12))
            self._ctx.log.info("%s: left out: %s", self.label, counts)
        return wanted

    def _attributes(self, commit: str, files: list[File]) -> dict[str, dict[str, str]]:
        own = [file.oid for file in files if file.path.rpartition("/")[2] == ".gitattributes"]
        if not own:
            return {}
        self._mirror.ensure(own)
        paths = {file.path for file in files}
        paths.update(folder for file in files for folder in folders_of(file.path))
        return self._mirror.attributes(commit, sorted(paths), NAMES)

    def _rules(self) -> Wanted:
        options = self._options
        return Wanted(
            include=GitIgnoreSpec.from_lines(options.include) if options.include else None,
            exclude=GitIgnoreSpec.from_lines(options.exclude) if options.exclude else None,
            hidden=options.hidden,
            generated=options.generated,
            vendored=options.vendored,
            images=bool(options.ocr),
        )

    def _files(self, only: frozenset[str] | set[str] | None = None) -> Iterator[Unit]:
        for file, verdict in self._wanted:
            if only is not None and file.path not in only:
                continue
            key = key_of(file.path)
            data: dict[str, Any] = {"repository": self.label, "oid": file.oid}
            if verdict is Verdict.LOOK:
                data["look"] = True
            yield Unit(
                key=self.prefix + key,
                version=version_of(file),
                data=data,
                uri=self.remote.uri(key, self.state.get("branch", "HEAD")),
            )

    def _item_unit(self, path: str, version: str) -> Unit:
        return Unit(
            key=self.prefix + path,
            version=version,
            data={"repository": self.label},
            uri=_item_uri(self.remote.web, path),
        )

    def _credential(self) -> Credential | None:
        if not self.remote.host or not (self._options.token or self._options.app):
            return None
        return Credential(self.remote.host, self._options.user, self._reading.token())


def _item_uri(web: str, path: str) -> str:
    """Where a person finds the item, as far as its key tells; the document's own address is exact."""
    head = path.split("/")
    if head[1] == "releases":
        return f"{web}/releases"
    place = f"{web}/{'pull' if head[1] == 'pulls' else 'issues'}/{head[2]}"
    if len(head) == 3:
        return place
    return f"{place}#{'discussion_r' if head[3] == 'reviews' else 'issuecomment-'}{head[4]}"
