"""A mailbox on an IMAP server as a source: one message, one unit; its text and its attachments, a document each.

Discover asks what became of the mailboxes since the last time and never fetches a body. Extract fetches a message,
without marking it as read, and the ones that the same worker reads next along with it. See docs/connectors/imap.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from connectors.imap_mail.bodies import fetched
from connectors.imap_mail.documents import documents, hash_of
from connectors.imap_mail.folders import chosen
from connectors.imap_mail.listen import listen
from connectors.imap_mail.look import Look
from connectors.imap_mail.options import ImapOptions
from connectors.imap_mail.place import Place
from connectors.imap_mail.session import Stopped, session
from farm.connector import Connector, ConnectorError, Context, InvalidInput, Item, Unchanged, Unit


class Imap(Connector[ImapOptions]):
    name = "imap"
    Options = ImapOptions

    def check(self, ctx: Context[ImapOptions]) -> str | None:
        try:
            chosen(session(ctx))
        except ConnectorError as error:
            return str(error)
        except Stopped:
            return "the farm stopped before it was known"
        return None

    def discover(self, ctx: Context[ImapOptions], cursor: Any) -> Iterator[Item]:
        with suppress(Stopped):
            yield from Look(ctx, session(ctx), cursor).items()

    def listens(self, options: ImapOptions) -> bool:
        return True

    def listen(self, ctx: Context[ImapOptions]) -> Iterator[str | None]:
        yield from listen(ctx)

    def extract(self, ctx: Context[ImapOptions], unit: Unit) -> Iterator[Item]:
        try:
            place = Place.of(unit)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput("not a message of this source") from error
        ctx.progress(message=f"fetching {place.size:,} bytes")
        try:
            mail = fetched(session(ctx), place, _upcoming(ctx))
        except Stopped:
            return
        if mail is None:
            return  # gone meanwhile: the next look says so
        content_hash = hash_of(mail.raw)
        if content_hash == ctx.held:
            yield Unchanged(unit.key)
            return
        yield from documents(unit, mail, content_hash, ctx.options)


def _upcoming(ctx: Context[ImapOptions]) -> Iterator[Place]:
    for unit in ctx.ahead:
        try:
            yield Place.of(unit)
        except (KeyError, TypeError, ValueError):
            return
