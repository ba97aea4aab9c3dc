"""Waiting for mail: IDLE on the first mailbox (INBOX, mostly) where the server has it, and a glance at all of them
once a minute.

IDLE hears one mailbox, and a connection for each of the others would soon be more than servers allow. A glance is one
LIST and one STATUS a mailbox; of very many mailboxes it is rarer, so that there is no more than one STATUS a second. It
also ends an IDLE long before the half hour after which servers hang up, and finds out that a connection is dead.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from connectors.imap_mail.folders import chosen
from connectors.imap_mail.options import ImapOptions
from connectors.imap_mail.session import Examined, Session, Stopped
from farm.connector import Context

if TYPE_CHECKING:
    from imapclient import IMAPClient

GLANCE_S = 60.0
PER_MAILBOX_S = 1.0
SLICE_S = 0.5
"""How soon a request to stop is seen."""
BURST_S = 0.3
"""What arrives together is told together."""
_CHANGES = {b"EXISTS", b"EXPUNGE", b"FETCH", b"VANISHED"}


def listen(ctx: Context[ImapOptions]) -> Iterator[str | None]:
    """Names of mailboxes in which something changed; None first."""
    session = Session(ctx)
    try:
        last = _glance(session)
        yield None
        while not ctx.stop_requested:
            due = time.monotonic() + max(GLANCE_S, PER_MAILBOX_S * len(last))
            if session.has("IDLE"):
                yield from _idle(ctx, session, last, due)
            else:
                _rest(ctx, due)
            now = _glance(session)
            yield from (name for name in now | last if now.get(name) != last.get(name))
            last = now
    except Stopped:
        return
    finally:
        session.close()


def _glance(session: Session) -> dict[str, Examined]:
    """All mailboxes as they are."""
    return {name: session.status(name) for name in chosen(session)}


def _idle(
    ctx: Context[ImapOptions], session: Session, last: dict[str, Examined], due: float
) -> Iterator[str]:
    """The first mailbox, each time that it changes."""
    first, heard = next(iter(last)), False
    while not ctx.stop_requested and time.monotonic() < due:
        # What came while nobody listened is not told by IDLE: only who has just looked may wait.
        now = session.examine(first)
        if heard or now != last[first]:
            last[first], heard = now, False
            yield first
            continue
        heard = session.run(lambda client: _heard(ctx, client, due), first)
    if heard:
        yield first


def _heard(ctx: Context[ImapOptions], client: IMAPClient, due: float) -> bool:
    """Whether something changed before it was time for a glance."""
    client.idle()
    heard, quick = False, 0
    while not (ctx.stop_requested or heard) and time.monotonic() < due:
        asked = time.monotonic()
        said = client.idle_check(timeout=SLICE_S)
        heard = any(map(_is_change, said))
        # IMAPClient takes the end of the connection for silence: it then returns at once, again and again.
        quick = quick + 1 if not said and time.monotonic() - asked < SLICE_S / 4 else 0
        if quick > 5:
            raise ConnectionResetError("the connection ended")
    if heard:
        time.sleep(BURST_S)
    client.idle_done()
    return heard


def _rest(ctx: Context[ImapOptions], due: float) -> None:
    while not ctx.stop_requested and time.monotonic() < due:
        time.sleep(SLICE_S)


def _is_change(said: Any) -> bool:
    return isinstance(said, tuple) and any(part in _CHANGES for part in said[:2])
