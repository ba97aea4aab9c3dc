"""An Obsidian vault as a source: notes, canvases, bases and attachments, and what links them.

One file, one unit, one document; beside it the records of three streams: `links`, `backlinks`, `tags`. Links are
resolved as Obsidian does, by the files there are: the cursor knows those, and has a note read again when one of
its links may lead elsewhere. See docs/connectors/obsidian.md.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ByteSize

from connectors.files.charset import decode
from connectors.files.extract import parts_of
from connectors.files.folder import look_into
from connectors.files.names import key_of, path_of, uri_of
from connectors.files.ocr import missing_for
from connectors.files.options import AbsolutePath, Patterns
from connectors.files.reading import Content, open_beneath, read
from connectors.files.rules import IGNORE_FILES, Rules, hides, is_in_state
from connectors.vault import boards, properties
from connectors.vault.links import Index
from connectors.vault.note import Note, read_note
from connectors.vault.scan import BASE, CANVAS, Scan, head_of, is_note, is_unit, scan
from connectors.vault.table import Table
from farm import connector
from farm.connector import (
    Connector,
    Context,
    Document,
    Gone,
    InvalidInput,
    Item,
    Listing,
    Record,
    Schema,
    SourceUnavailable,
    State,
    Unchanged,
    Unit,
)

HEAD_BYTES = 16_384
"""Properties that are longer have no aliases for links to find."""
_MOST_REREAD_BYTES = 4_000_000
_UNTOLD_S = 5.0
_KEY = {"type": "string", "x-unit-key": True}
_TEXT = {"type": "string"}

STREAMS = (
    Schema(
        "links",
        {
            "type": "object",
            "properties": {
                "from": _KEY,
                "n": {"type": "integer"},
                "kind": {"enum": ["wikilink", "embed", "markdown", "property", "canvas"]},
                "target": _TEXT,
                "to": {**_KEY, "type": ["string", "null"]},
                "by": {"enum": ["path", "name", "alias", ""]},
                "heading": _TEXT,
                "block": _TEXT,
                "alias": _TEXT,
                "line": {"type": "integer"},
            },
        },
        ["from", "n"],
    ),
    Schema(
        "backlinks",
        {"type": "object", "properties": {"note": _KEY, "from": _KEY, "count": {"type": "integer"}}},
        ["from", "note"],
    ),
    Schema(
        "tags",
        {
            "type": "object",
            "properties": {"note": _KEY, "tag": _TEXT, "parents": {"type": "array", "items": _TEXT}},
        },
        ["note", "tag"],
    ),
)


class ObsidianOptions(connector.Options):
    """What `[sources.NAME.options]` may say."""

    path: AbsolutePath
    """The vault's folder: the one with `.obsidian` in it."""
    exclude: Patterns = ()
    """Patterns as in .gitignore: never these."""
    attachments: bool = True
    """Also read PDFs, office documents and the like that lie in the vault."""
    max_size: ByteSize = ByteSize(100_000_000)
    """Files larger than this are refused."""
    ocr: str = ""
    """Languages to recognise in images and scans, as tesseract names them. Empty: none."""

    @property
    def rules(self) -> Rules:
        return Rules.of(include=(), exclude=self.exclude, hidden=False, gitignore=False)


class Obsidian(Connector[ObsidianOptions]):
    name = "obsidian"
    Options = ObsidianOptions

    def check(self, ctx: Context[ObsidianOptions]) -> str | None:
        try:
            look_into(ctx.options.path)
        except SourceUnavailable as error:
            return str(error)
        return missing_for(ctx.options.ocr) or None if ctx.options.ocr else None

    def discover(self, ctx: Context[ObsidianOptions], cursor: Any) -> Iterator[Item]:
        options = ctx.options
        identity = look_into(options.path, cursor)
        seen = scan(
            str(options.path), options.rules, lambda count: ctx.progress(done=count, message="listing")
        )
        before = Table.of(cursor)
        table = Table(_with_unread(seen, before))
        table.update(before, lambda key: _text(options.path, key), lambda key: _aliases(options.path, key))
        _report(ctx.log, seen)
        if look_into(options.path, cursor) != identity:
            raise SourceUnavailable(f"the folder {options.path} was replaced while it was listed")

        everything = ctx.paths is None or any(_asks_for_all(options.path, key) for key in ctx.paths)
        asked = None if everything else set(ctx.paths or ())
        if everything:
            yield from STREAMS
        names = table.names()
        for key in table.files:
            if ctx.stop_requested:
                yield Listing(complete=False)
                return
            if self._wanted(options, key) and _concerns(key, asked, table, before):
                uri = uri_of(f"{options.path}/{path_of(key)}")
                yield Unit(key, table.version(key), {"names": names, "turn": table.turns.get(key, 0)}, uri)
        if asked is not None:
            known = before.files.keys() if before else asked
            for key in sorted((asked | set(known)) - table.files.keys()):
                yield Gone(key)
        state = {"folder": identity, "documents": bool(table.files), **table.cursor()}
        # Of a vault that was never listed whole, nothing may be taken for known.
        if state != cursor and (everything or before is not None):
            yield State(state)
        yield Listing(complete=everything, unread=[f"{key}/" for key, _ in seen.unread])

    def extract(self, ctx: Context[ObsidianOptions], unit: Unit) -> Iterator[Item]:
        options, path = ctx.options, path_of(unit.key)
        if "\0" in path or not {"", ".", ".."}.isdisjoint(path.split("/")):
            raise InvalidInput("not a path below the folder")
        written = unit.key.rpartition(".")[2].lower() in ("md", CANVAS, BASE)
        try:
            descriptor = open_beneath(options.path, path)
        except FileNotFoundError:
            yield Gone(unit.key)
            return
        content = read(descriptor, max_bytes=options.max_size, may_be_empty=written)
        if content.hash == ctx.held and not unit.data.get("turn"):
            yield Unchanged(unit.key)
            return
        uri = uri_of(f"{options.path}/{path}")
        if not written:
            yield _attachment(unit.key, path, uri, content, options.ocr)
            return
        note = _read(unit.key, content)
        yield _document(unit.key, uri, content, note)
        yield from _records(unit.key, note, _index(options, str(unit.data.get("names") or "")))

    def watch_path(self, options: ObsidianOptions) -> Path | None:
        return options.path

    def watch_key(self, options: ObsidianOptions, path: Path) -> str | None:
        try:
            relative = path.relative_to(options.path)
        except ValueError:
            return None
        if is_in_state(str(options.path), str(relative)):
            return None
        if relative.name in IGNORE_FILES[1:]:
            return key_of(str(relative))
        if not relative.parts or any(hides(part, hidden=False) for part in relative.parts):
            return None
        return key_of(str(relative))

    def _wanted(self, options: ObsidianOptions, key: str) -> bool:
        if not options.attachments and not key.lower().endswith((".md", f".{CANVAS}", f".{BASE}")):
            return False
        return is_unit(key, images=bool(options.ocr))


def _read(key: str, content: Content) -> Note:
    text, _ = decode(content.data)
    match key.rpartition(".")[2].lower():
        case "canvas":
            return boards.read_canvas(text)
        case "base":
            return boards.read_base(text)
        case _:
            return read_note(text)


def _document(key: str, uri: str, content: Content, note: Note) -> Document:
    extension = key.rpartition(".")[2].lower()
    metadata: dict[str, Any] = {"kind": {"md": "note"}.get(extension, extension)}
    if note.properties:
        metadata["properties"] = note.properties
    if note.fault:
        metadata["properties_fault"] = note.fault
    if note.aliases:
        metadata["aliases"] = note.aliases
    if note.tags:
        metadata["tags"] = list(note.tags.values())
    if not note.structured:
        metadata["elements"] = "left out: too long"
    mime = {"md": "text/markdown", CANVAS: "application/json", BASE: "application/yaml"}[extension]
    return Document(
        key=key,
        text=note.text,
        title=PurePosixPath(key).stem,  # as Obsidian has it, and so that it follows a renamed note
        uri=uri,
        mime=mime,
        modified_at=content.modified_at,
        metadata=metadata,
        elements=note.elements,
        content_hash=content.hash,
    )


def _attachment(key: str, path: str, uri: str, content: Content, ocr: str) -> Document:
    parts = parts_of(content.data, path, ocr=ocr)
    return Document(
        key=key,
        text=parts.text,
        title=parts.title or PurePosixPath(key).stem,
        uri=uri,
        mime=parts.mime,
        created_at=parts.created_at,
        modified_at=parts.modified_at or content.modified_at,
        metadata={"kind": "attachment", **parts.metadata},
        elements=parts.elements,
        content_hash=content.hash,
    )


def _records(key: str, note: Note, index: Index) -> Iterator[Record]:
    led = Counter[str]()
    for n, link in enumerate(note.links):
        target = link.target
        to, by = index.resolve(target.path, key)
        if to is not None and to != key:
            led[to] += 1
        yield Record(
            "links",
            {
                "from": key,
                "n": n,
                "kind": link.kind,
                "target": target.path,
                "to": to,
                "by": by,
                "heading": target.heading,
                "block": target.block,
                "alias": target.alias,
                "line": link.line,
            },
            f"{key}#{n}",
        )
    for n, (to, count) in enumerate(led.items()):
        yield Record("backlinks", {"note": to, "from": key, "count": count}, f"{key}#{n}")
    for folded, tag in note.tags.items():
        parts = tag.split("/")
        parents = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
        yield Record("tags", {"note": key, "tag": tag, "parents": parents}, f"{key}#{folded}")


_built: tuple[tuple[str, str, tuple[str, ...]], float, Index] | None = None
"""The index this worker made last: by its vault and the names that the listing saw there."""


def _index(options: ObsidianOptions, names: str) -> Index:
    """Of the files there are now, which are those of the listing or newer ones."""
    global _built
    wanted = (str(options.path), names, options.exclude)
    if _built is None or _built[0] != wanted or (not names and time.monotonic() - _built[1] > _UNTOLD_S):
        keys = list(scan(str(options.path), options.rules).files)
        index = Index(keys, lambda: {key: _aliases(options.path, key) for key in filter(is_note, keys)})
        _built = (wanted, time.monotonic(), index)
    return _built[2]


def _aliases(root: Path, key: str) -> list[str]:
    """From the head of a note; none where it cannot be read: extract will say why."""
    head = head_of(root, key, HEAD_BYTES)
    if not head.startswith((b"---", b"\xef\xbb\xbf---")) or b"alias" not in head.lower():
        return []
    block, _ = properties.block_of(decode(head)[0])
    return properties.aliases_of(properties.parse(block)[0]) if block else []


def _text(root: Path, key: str) -> str:
    return head_of(root, key, _MOST_REREAD_BYTES).decode("utf-8", "replace")


def _with_unread(seen: Scan, before: Table | None) -> dict[str, str]:
    """What could not be looked at is as it was: its names still lead somewhere."""
    if not seen.unread or before is None:
        return seen.files
    folders = tuple(f"{key}/" for key, _ in seen.unread)
    return seen.files | {key: v for key, v in before.files.items() if key.startswith(folders)}


def _concerns(key: str, asked: set[str] | None, table: Table, before: Table | None) -> bool:
    """Whether a look at some keys has to do with this one: it was asked for, or is another than it was."""
    if asked is None or key in asked:
        return True
    return before is not None and (key not in before.files or before.version(key) != table.version(key))


def _asks_for_all(root: Path, key: str) -> bool:
    """Whether only a whole look can tell what this change means: other rules, or a folder."""
    path = path_of(key)
    if path.rpartition("/")[2] in IGNORE_FILES[1:] or not path.strip("/") or "\0" in path:
        return True
    return path.endswith("/") or (root / path).is_dir()


def _report(log: logging.Logger, seen: Scan) -> None:
    for key, why in seen.unread[:20]:
        log.warning("cannot look into %s: %s; nothing in it counts as deleted", key, why)
