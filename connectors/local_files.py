"""A folder of documents as a source: one file, one unit, one document.

Discover lists what the rules let through and never opens what its name explains; the farm compares size,
time and inode with what it holds, so a moved file is not read again. Extract reads one file, by its
bytes and not its name. See docs/connectors/local_files.md.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ByteSize

from connectors.files.extract import parts_of
from connectors.files.folder import look_into
from connectors.files.names import key_of, path_of, uri_of
from connectors.files.ocr import missing_for
from connectors.files.options import AbsolutePath, Patterns
from connectors.files.reading import open_beneath, read, version_of
from connectors.files.rules import IGNORE_FILES, Rules, hides, is_in_state
from connectors.files.walk import Found, Missing, Walk
from farm import connector
from farm.connector import (
    Connector,
    Context,
    Document,
    Gone,
    InvalidInput,
    Item,
    Listing,
    SourceUnavailable,
    State,
    Unchanged,
    Unit,
)


class LocalFilesOptions(connector.Options):
    """What `[sources.NAME.options]` may say."""

    path: AbsolutePath
    """The folder."""
    include: Patterns = ()
    """Patterns as in .gitignore: only files that one of them names. Empty: every kind of document."""
    exclude: Patterns = ()
    """Patterns as in .gitignore: never these."""
    hidden: bool = False
    """Also files and folders whose name begins with a dot."""
    gitignore: bool = True
    """Leave out what .gitignore files leave out (.farmignore files always count)."""
    max_size: ByteSize = ByteSize(100_000_000)
    """Files larger than this are refused."""
    ocr: str = ""
    """Languages to recognise in images and scans, as tesseract names them ("eng", "eng+deu"). Empty: none."""

    @property
    def rules(self) -> Rules:
        return Rules.of(
            include=self.include, exclude=self.exclude, hidden=self.hidden, gitignore=self.gitignore
        )


class LocalFiles(Connector[LocalFilesOptions]):
    name = "local_files"
    Options = LocalFilesOptions

    def check(self, ctx: Context[LocalFilesOptions]) -> str | None:
        try:
            look_into(ctx.options.path)
        except SourceUnavailable as error:
            return str(error)
        return missing_for(ctx.options.ocr) or None if ctx.options.ocr else None

    def discover(self, ctx: Context[LocalFilesOptions], cursor: Any) -> Iterator[Item]:
        root = ctx.options.path
        walk = Walk(
            str(root),
            ctx.options.rules,
            images=bool(ctx.options.ocr),
            alive=lambda seen: ctx.progress(done=seen, message="listing"),
        )
        identity = look_into(root, cursor)
        if ctx.paths is None or any(_asks_for_all(root, key) for key in ctx.paths):
            yield from self._everything(ctx, walk, identity, cursor)
        else:
            yield from self._changes(ctx, walk, sorted(set(ctx.paths)), cursor)

    def _everything(
        self, ctx: Context[LocalFilesOptions], walk: Walk, identity: list[int], cursor: Any
    ) -> Iterator[Item]:
        files = 0
        for found in walk.everything():
            if ctx.stop_requested:
                yield Listing(complete=False)
                return
            files += 1
            yield _unit(ctx.options.path, found)
        _report(ctx.log, walk)
        if look_into(ctx.options.path, cursor) != identity:
            raise SourceUnavailable(f"the folder {ctx.options.path} was replaced while it was listed")
        state = {"folder": identity, "documents": bool(files or walk.unread)}
        if state != cursor:
            yield State(state)
        yield Listing(complete=True, unread=[f"{key}/" for key, _ in walk.unread])

    def _changes(
        self, ctx: Context[LocalFilesOptions], walk: Walk, keys: list[str], cursor: Any
    ) -> Iterator[Item]:
        """What became of these keys. Never a complete listing."""
        told, gone = set[str](), list[str]()
        for key in keys:
            for item in walk.just(path_of(key).rstrip("/")):
                if isinstance(item, Missing):
                    gone.append(key_of(item.path))
                elif item.path not in told:
                    told.add(item.path)
                    yield _unit(ctx.options.path, item)
        _report(ctx.log, walk)
        if gone:  # but not because the folder itself went
            look_into(ctx.options.path, cursor)
        for key in gone:
            yield Gone(key)
        yield Listing(complete=False)

    def extract(self, ctx: Context[LocalFilesOptions], unit: Unit) -> Iterator[Item]:
        root = ctx.options.path
        path = path_of(unit.key)
        if "\0" in path or not {"", ".", ".."}.isdisjoint(path.split("/")):
            raise InvalidInput("not a path below the folder")
        try:
            descriptor = open_beneath(root, path)
        except FileNotFoundError:
            yield Gone(unit.key)
            return
        content = read(descriptor, max_bytes=ctx.options.max_size)
        if content.hash == ctx.held:
            yield Unchanged(unit.key)
            return
        parts = parts_of(content.data, path, ocr=ctx.options.ocr)
        yield Document(
            key=unit.key,
            text=parts.text,
            title=parts.title or PurePosixPath(unit.key).stem,
            uri=uri_of(f"{root}/{path}"),
            mime=parts.mime,
            created_at=parts.created_at,
            modified_at=parts.modified_at or content.modified_at,
            metadata=parts.metadata,
            elements=parts.elements,
            content_hash=content.hash,
        )

    def watch_path(self, options: LocalFilesOptions) -> Path | None:
        return options.path

    def watch_key(self, options: LocalFilesOptions, path: Path) -> str | None:
        try:
            relative = path.relative_to(options.path)
        except ValueError:
            return None
        if is_in_state(str(options.path), str(relative)):
            return None
        if relative.name in IGNORE_FILES:
            return key_of(str(relative))
        if not relative.parts or any(hides(part, hidden=options.hidden) for part in relative.parts):
            return None
        return key_of(str(relative))


def _unit(root: Path, found: Found) -> Unit:
    return Unit(key=key_of(found.path), version=version_of(found.status), uri=uri_of(f"{root}/{found.path}"))


def _asks_for_all(root: Path, key: str) -> bool:
    """Whether only a whole look can tell what this change means: other rules, or a folder that is gone."""
    path = path_of(key)
    if path.rpartition("/")[2] in IGNORE_FILES or not path.strip("/"):
        return True
    return path.endswith("/") and "\0" not in path and not (root / path).is_dir()


def _report(log: logging.Logger, walk: Walk) -> None:
    for key, why in walk.unread[:20]:
        log.warning("cannot look into %s: %s; nothing in it counts as deleted", key, why)
    if len(walk.unread) > 20:
        log.warning("cannot look into %d more folders", len(walk.unread) - 20)
    if walk.left_out:
        counts = ", ".join(f"{count} {sort}" for sort, count in walk.left_out.most_common(12))
        log.info("no documents: %s", counts)
