"""What `[sources.NAME.options]` of an IMAP mailbox may say."""

from __future__ import annotations

import ipaddress
from datetime import date
from typing import Literal
from urllib.parse import quote, urlsplit

from pydantic import ByteSize, Field, field_validator, model_validator

from connectors.files.options import AbsolutePath
from farm import connector
from farm.connector import SecretName

Security = Literal["tls", "starttls", "plain"]


class ImapOptions(connector.Options):
    host: str = Field(min_length=1, pattern=r"^[^\s/@]+$")
    port: int = Field(default=0, ge=0, le=65535)
    """0: 993 with TLS from the start, 143 otherwise."""
    security: Security = "tls"
    """tls: from the first byte. starttls: after the greeting, before the login. plain: not at all."""
    ca_file: AbsolutePath | None = None
    """PEM file of the only authorities to trust, instead of the system's."""
    user: str = Field(min_length=1, pattern=r"^[^\r\n\x00]+$")
    password: SecretName | None = None
    """Name of the secret with the password."""
    token: SecretName | None = None
    """Name of the secret with an OAuth 2 access token that something else keeps fresh."""
    refresh_token: SecretName | None = None
    """Name of the secret with an OAuth 2 refresh token; access tokens are then got from token_url."""
    client_id: str = ""
    client_secret: SecretName | None = None
    """Name of the secret with the client's own secret, where the provider wants one."""
    token_url: str = ""
    folders: tuple[str, ...] = ()
    """Patterns (* and ?) of mailboxes to read. Empty: all but junk, trash and drafts."""
    exclude: tuple[str, ...] = ()
    """Patterns of mailboxes to leave out, whatever else says so."""
    since: date | None = None
    """Only messages that the server received on that day or later."""
    flags: bool = True
    """Follow flags (seen, answered, flagged …) in the stream "flags"."""
    attachments: bool = True
    """Read attachments like files; false: only name them."""
    max_size: ByteSize = ByteSize(25_000_000)
    """Of a message larger than this, only the text and the small attachments are fetched."""
    max_attachment: ByteSize = ByteSize(10_000_000)
    """Attachments larger than this are named, not read."""
    timeout: float = Field(default=60.0, gt=0, le=600)
    """Seconds without a byte from the server after which it counts as stalled."""

    @field_validator("token_url")
    @classmethod
    def _safe(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))):
            raise ValueError("must begin with https://")
        return url

    @model_validator(mode="after")
    def _one_way_in(self) -> ImapOptions:
        given = [self.password, self.token, self.refresh_token]
        if sum(name is not None for name in given) != 1:
            raise ValueError("name one secret: password, token or refresh_token")
        if self.refresh_token and not (self.client_id and self.token_url):
            raise ValueError("refresh_token needs client_id and token_url")
        if self.ca_file and self.security == "plain":
            raise ValueError("ca_file means nothing with security = plain")
        return self

    @property
    def real_port(self) -> int:
        return self.port or (993 if self.security == "tls" else 143)

    @property
    def place(self) -> str:
        """The server, as a sentence names it."""
        return self.host if not self.port else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """Where mailboxes are found (RFC 5092)."""
        scheme, usual = ("imaps", 993) if self.security == "tls" else ("imap", 143)
        port = "" if self.real_port == usual else f":{self.real_port}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{quote(self.user, safe='')}@{host}{port}"


def is_loopback(host: str | None) -> bool:
    """
    >>> is_loopback("localhost"), is_loopback("127.0.0.9"), is_loopback("::1"), is_loopback("mail.example.org")
    (True, True, True, False)
    """
    if host in (None, "localhost"):
        return host is not None
    try:
        return ipaddress.ip_address(str(host)).is_loopback
    except ValueError:
        return False
