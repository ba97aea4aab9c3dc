"""Where a message is: mailbox, UIDVALIDITY and UID name it for ever; key, address and version are made of that.

The version is made of what a message takes along when it moves, and is the same in every mailbox and under every
UIDVALIDITY. So a message that is gone here and new there is one that moved, and is not fetched again.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from urllib.parse import quote

from connectors.imap_mail.options import ImapOptions
from farm.connector import Unit

HEADERS = "BODY.PEEK[HEADER.FIELDS (MESSAGE-ID DATE FROM SUBJECT)]"
ALL_HEADERS = "BODY.PEEK[HEADER]"


@dataclass(frozen=True, slots=True)
class Place:
    mailbox: str
    validity: int
    uid: int
    size: int = 0

    @property
    def key(self) -> str:
        """
        >>> Place("INBOX", 1700000000, 17).key
        'INBOX/1700000000.17'
        """
        return f"{self.mailbox}/{self.validity}.{self.uid}"

    def uri(self, options: ImapOptions) -> str:
        """As RFC 5092 writes it."""
        return f"{options.url}/{quote(self.mailbox)};UIDVALIDITY={self.validity}/;UID={self.uid}"

    def unit(self, options: ImapOptions, version: str) -> Unit:
        data = {"mailbox": self.mailbox, "validity": self.validity, "uid": self.uid, "size": self.size}
        return Unit(self.key, version, data, self.uri(options))

    @classmethod
    def of(cls, unit: Unit) -> Place:
        data = unit.data
        return cls(str(data["mailbox"]), int(data["validity"]), int(data["uid"]), int(data.get("size", 0)))

    @property
    def identity(self) -> tuple[str, int, int]:
        return self.mailbox, self.validity, self.uid


def version_of(headers: bytes, size: int) -> str:
    """Of these headers and so many bytes. White space does not count: servers fold as they like."""
    return blake2b(b"%d " % size + b" ".join(headers.split()), digest_size=16).hexdigest()


def has_identity(headers: bytes) -> bool:
    """Whether they tell this message from all others: then they need not all be fetched."""
    return b"message-id:" in headers[:20_000].lower()
