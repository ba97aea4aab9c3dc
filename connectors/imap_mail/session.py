"""One connection to a mail server: opened when needed, opened again when it broke, shared by a worker's jobs.

Mailboxes are only ever examined and messages only ever peeked at: nothing on the server changes.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, TypeVar

from connectors.imap_mail.auth import login
from connectors.imap_mail.faults import Dropped, Refused, in_words
from connectors.imap_mail.options import ImapOptions, is_loopback
from connectors.imap_mail.uids import Uids
from farm.connector import Context, MissingDependency

if TYPE_CHECKING:
    from imapclient import IMAPClient

T = TypeVar("T")

KEPT_S = 20.0
"""A connection that nobody used for so long is closed: servers count them."""
_CONNECT_S = 20.0
_SPAN = 100_000
"""UIDs asked about at once: imaplib takes no line longer than a million bytes."""


@dataclass(frozen=True, slots=True)
class Examined:
    """A mailbox as it was when it was opened."""

    name: str
    validity: int
    next: int
    """Higher than any UID in it."""
    messages: int
    modseq: int
    """0: the server keeps none."""


class Stopped(Exception):
    """The farm asks for an early end: no more requests."""


class Session:
    """The connection, made and used for the job whose context this is; `serve` passes it on to the next job."""

    def __init__(self, ctx: Context[ImapOptions]) -> None:
        self.options = ctx.options
        self._ctx = ctx
        self._client: IMAPClient | None = None
        self._examined: Examined | None = None
        self.lock = threading.RLock()
        self.used_at = time.monotonic()
        self.ahead: dict[tuple[str, int, int], Any] = {}
        """Messages that were fetched together with another one, for the jobs to come."""

    def serve(self, ctx: Context[ImapOptions]) -> None:
        """From now on it is this job that asks."""
        self._ctx = ctx
        self.used_at = time.monotonic()

    # -- what is asked

    def run(self, act: Callable[[IMAPClient], T], mailbox: str | None = None) -> T:
        """Do this, with the mailbox open if one is named; on a connection that breaks, once more on a new one.

        Raises Stopped instead, once the farm asks for an early end.
        """
        if not self._ctx.throttle():
            raise Stopped
        return self._steadily(act, mailbox)

    def _steadily(self, act: Callable[[IMAPClient], T], mailbox: str | None = None) -> T:
        """The same for what mostly needs no request."""
        with self.lock:
            try:
                try:
                    return self._run(act, mailbox)
                except Dropped:
                    self.close()
                    return self._run(act, mailbox)
            except Refused:
                raise  # the server lives, and so does the connection
            except BaseException:
                self.close()
                raise
            finally:
                self.used_at = time.monotonic()

    def has(self, capability: str) -> bool:
        return self._steadily(lambda client: bool(client.has_capability(capability)))

    def folders(self) -> list[tuple[tuple[bytes, ...], bytes | None, str]]:
        """Flags, delimiter and name of every mailbox."""
        return self.run(lambda client: client.list_folders())

    def status(self, name: str) -> Examined:
        """The mailbox at a glance, without opening it.

        Of the one that is open STATUS tells what this connection has seen of it, not what became of it since.
        """
        if self._examined is not None and self._examined.name == name:
            return self.examine(name)
        asked = ["UIDVALIDITY", "UIDNEXT", "MESSAGES"] + ["HIGHESTMODSEQ"] * self.has("CONDSTORE")
        return _examined(name, self.run(lambda client: client.folder_status(name, asked)), b"MESSAGES")

    def examine(self, name: str) -> Examined:
        """Open the mailbox anew, to read only."""

        def act(client: IMAPClient) -> Examined:
            self._examined = None
            return self._examine(client, name)

        return self.run(act)

    def opened(self, name: str) -> Examined:
        """The mailbox as it was when this connection opened it."""

        def act(_: IMAPClient) -> Examined:
            assert self._examined is not None
            return self._examined

        return self._steadily(act, name)

    def uids(self, mailbox: Examined, *, low: int = 1, since: date | None = None) -> Uids:
        """Which UIDs from `low` on the mailbox holds, of messages received on that day or later."""
        found: list[int] = []
        wide = mailbox.messages > _SPAN // 2
        for first in range(low, mailbox.next, _SPAN) if wide else [low]:
            last = str(min(first + _SPAN, mailbox.next) - 1) if wide else "*"
            criteria: list[Any] = ["UID", f"{first}:{last}", *(["SINCE", since] if since else [])]
            found += self._search(mailbox.name, criteria)
        # n:* names the last message even where all are below n.
        return Uids(uid for uid in found if low <= uid < mailbox.next)

    def _search(self, mailbox: str, criteria: list[Any]) -> list[int]:
        return self.run(lambda client: list(client.search(criteria)), mailbox)

    def fetch(
        self, mailbox: str, uids: Iterable[int] | str, items: list[str], modifiers: list[str] | None = None
    ) -> dict[int, dict[bytes, Any]]:
        asked = uids if isinstance(uids, str) else str(Uids(uids))
        found: dict[int, dict[bytes, Any]] = self.run(
            lambda client: client.fetch(asked, items, modifiers), mailbox
        )
        return found

    def vanished(self) -> list[Uids]:
        """What the server said since the last time about messages that are gone (QRESYNC)."""

        def act(client: IMAPClient) -> list[Uids]:
            # IMAPClient knows no QRESYNC; imaplib keeps what it was not asked about here.
            said = client._imap.untagged_responses.pop("VANISHED", [])
            return [Uids.parse(line.decode("ascii").rpartition(" ")[2]) for line in said if line]

        return self._steadily(act)

    # -- the connection

    def close(self) -> None:
        """Say goodbye if that is quick; forget all that belonged to the connection."""
        client, self._client, self._examined = self._client, None, None
        self.ahead.clear()
        if client is not None:
            with contextlib.suppress(Exception):
                client.socket().settimeout(1.0)
                client._imap.send(b"bye LOGOUT\r\n")
            with contextlib.suppress(Exception):
                client.shutdown()

    @property
    def is_open(self) -> bool:
        return self._client is not None

    def _run(self, act: Callable[[IMAPClient], T], mailbox: str | None) -> T:
        with in_words(self.options):
            client = self._client or self._connect()
            if mailbox is not None and (self._examined is None or self._examined.name != mailbox):
                self._examine(client, mailbox)
            return act(client)

    def _examine(self, client: IMAPClient, name: str) -> Examined:
        found = _examined(name, client.select_folder(name, readonly=True), b"EXISTS")
        if not client.has_capability("CONDSTORE"):
            found = Examined(found.name, found.validity, found.next, found.messages, 0)
        if self._examined is None or self._examined.validity != found.validity:
            self.ahead.clear()
        self._examined = found
        return found

    def _connect(self) -> IMAPClient:
        try:
            from imapclient import IMAPClient, SocketTimeout
        except ImportError as error:
            raise MissingDependency(
                "reading mail needs IMAPClient: pip install 'connector-farm[imap]'"
            ) from error
        options = self.options
        if options.security == "plain" and not is_loopback(options.host):
            self._ctx.log.warning(
                "the connection to %s is not encrypted: others can read the password", options.place
            )
        client = IMAPClient(
            options.host,
            options.real_port,
            ssl=options.security == "tls",
            ssl_context=_tls(options) if options.security == "tls" else None,
            timeout=SocketTimeout(min(_CONNECT_S, options.timeout), options.timeout),
        )
        try:
            client.normalise_times = False
            if options.security == "starttls":
                client.starttls(_tls(options))
            login(client, options, self._ctx.secret)
            if client.has_capability("QRESYNC"):
                client.enable("QRESYNC")
        except BaseException:
            with contextlib.suppress(Exception):
                client.shutdown()
            raise
        self._client = client
        return client


def _tls(options: ImapOptions) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=options.ca_file)
    except (OSError, ssl.SSLError) as error:
        from farm.connector import Permanent

        raise Permanent(f"ca_file {options.ca_file} cannot be read: {error.strerror or error}") from error


def _examined(name: str, said: dict[bytes, Any], messages: bytes) -> Examined:
    modseq = said.get(b"HIGHESTMODSEQ", 0)
    modseq = modseq[0] if isinstance(modseq, list | tuple) and modseq else modseq
    return Examined(
        name,
        int(said.get(b"UIDVALIDITY", 0)),
        int(said.get(b"UIDNEXT", 1)),
        int(said.get(messages, 0)),
        int(modseq or 0),
    )


# -- one per worker process

_kept: tuple[str, Session] | None = None
_guard = threading.Lock()


def session(ctx: Context[ImapOptions]) -> Session:
    """The connection of this source; it stays open for the worker's next job, for a while."""
    global _kept
    key = f"{ctx.source}\0{ctx.options!r}"
    with _guard:
        if _kept is None or _kept[0] != key:
            if _kept is not None:
                with _kept[1].lock:
                    _kept[1].close()
            else:
                threading.Thread(target=_close_when_idle, name="imap idle", daemon=True).start()
            _kept = key, Session(ctx)
        found = _kept[1]
        found.serve(ctx)
        return found


def forget() -> None:
    """Close the kept connection."""
    with _guard:
        if _kept is not None:
            with _kept[1].lock:
                _kept[1].close()


def _close_when_idle() -> None:
    while True:
        time.sleep(KEPT_S / 4)
        with _guard:
            if _kept is None or time.monotonic() - _kept[1].used_at < KEPT_S:
                continue
            if _kept[1].lock.acquire(blocking=False):
                try:
                    _kept[1].close()
                finally:
                    _kept[1].lock.release()
