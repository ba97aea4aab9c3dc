"""Waiting for mail: IDLE on one mailbox where the server has it, else a glance at all of them now and then.

IDLE hears one mailbox, the first of those that are read (INBOX, mostly); a glance at the others is the schedule's.
It is renewed long before the half hour after which servers hang up, which also finds out that a connection is dead.
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

RENEW_S = 9 * 60.0
POLL_S = 60.0
SLICE_S = 0.5
"""How soon a request to stop is seen."""
BURST_S = 0.3
"""What arrives together is told together."""
_CHANGES = {b"EXISTS", b"EXPUNGE", b"FETCH", b"VANISHED"}


def listen(ctx: Context[ImapOptions]) -> Iterator[str | None]:
    """Names of mailboxes in which something changed; None first."""
    session = Session(ctx)
    try:
        names = chosen(session)
        yield from _idle(ctx, session, names[0]) if session.has("IDLE") else _glance(ctx, session, names)
    except Stopped:
        return
    finally:
        session.close()


def _idle(ctx: Context[ImapOptions], session: Session, name: str) -> Iterator[str | None]:
    last: Examined | None = None
    heard = False
    while not ctx.stop_requested:
        now = session.examine(name)  # what came while nobody listened shows here
        if last is None:
            yield None
        elif heard or now != last:
            yield name
        last = now
        heard = session.run(lambda client: _heard(ctx, client), name)


def _heard(ctx: Context[ImapOptions], client: IMAPClient) -> bool:
    """Whether something changed before it was time to renew."""
    client.idle()
    until = time.monotonic() + RENEW_S
    heard, quick = False, 0
    while not (ctx.stop_requested or heard) and time.monotonic() < until:
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


def _is_change(said: Any) -> bool:
    return isinstance(said, tuple) and any(part in _CHANGES for part in said[:2])


def _glance(ctx: Context[ImapOptions], session: Session, names: list[str]) -> Iterator[str | None]:
    last: dict[str, Examined] = {}
    while not ctx.stop_requested:
        now = {name: session.status(name) for name in names}
        if not last:
            yield None
        yield from (name for name in names if last and now[name] != last[name])
        last = now
        until = time.monotonic() + POLL_S
        while not ctx.stop_requested and time.monotonic() < until:
            time.sleep(SLICE_S)
