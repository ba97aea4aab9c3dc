"""Logging in: with a password, or with an OAuth 2 access token (XOAUTH2), which is fetched when need be."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import TYPE_CHECKING

from connectors.imap_mail.faults import login_refused
from connectors.imap_mail.options import ImapOptions
from farm.connector import Permanent, RateLimited, SourceUnavailable

if TYPE_CHECKING:
    from imapclient import IMAPClient

_MARGIN_S = 120.0
_ANSWER_BYTES = 100_000

_tokens: dict[tuple[str, str, str], tuple[str, float]] = {}
"""Access tokens of this process, by what they were got with, and until when they hold."""


def login(client: IMAPClient, options: ImapOptions, secret: Callable[[str], str]) -> None:
    """Raises Permanent where the server does not want us in."""
    from imapclient.exceptions import IMAPClientAbortError, LoginError

    try:
        if options.password:
            _with_password(client, options, secret(options.password))
        else:
            client.oauth2_login(options.user, access_token(options, secret))
    except IMAPClientAbortError:
        raise
    except LoginError as error:
        said = " ".join(str(error).split())
        if said.startswith(("b'", 'b"')):
            said = said[2:-1]
        if not options.password:
            _tokens.clear()
        raise login_refused(options, said[:200]) from None  # the cause may hold what was sent


def _with_password(client: IMAPClient, options: ImapOptions, password: str) -> None:
    if client.has_capability("AUTH=PLAIN"):
        client.plain_login(options.user, password)  # takes any letters, LOGIN only ASCII
    elif client.has_capability("LOGINDISABLED"):
        raise Permanent(
            f"{options.place} takes no password on this connection: use security = starttls or tls"
        )
    else:
        client.login(options.user, password)


def access_token(options: ImapOptions, secret: Callable[[str], str]) -> str:
    """The given one, or one that the provider gives for the refresh token."""
    if options.token:
        return secret(options.token)
    assert options.refresh_token
    refresh = secret(options.refresh_token)
    key = options.token_url, options.client_id, refresh
    known = _tokens.get(key)
    if known is not None and known[1] > time.monotonic() + _MARGIN_S:
        return known[0]
    asked = {"grant_type": "refresh_token", "client_id": options.client_id, "refresh_token": refresh}
    if options.client_secret:
        asked["client_secret"] = secret(options.client_secret)
    answer = _post(options, asked)
    token = answer.get("access_token")
    if not isinstance(token, str) or not token:
        raise SourceUnavailable(f"{_host(options)} answered without an access token")
    lasts = answer.get("expires_in")
    _tokens.clear()
    _tokens[key] = token, time.monotonic() + (float(lasts) if isinstance(lasts, int | float) else 300.0)
    return token


def _post(options: ImapOptions, asked: dict[str, str]) -> dict[str, object]:
    request = urllib.request.Request(
        options.token_url,
        urllib.parse.urlencode(asked).encode(),
        {"Accept": "application/json", "User-Agent": "connector-farm"},
    )
    host = _host(options)
    try:
        with _opener.open(request, timeout=options.timeout) as answer:
            found = json.loads(answer.read(_ANSWER_BYTES))
    except urllib.error.HTTPError as error:
        raise _denied(options, error) from None
    except TimeoutError as error:
        raise SourceUnavailable(f"{host} did not answer for {options.timeout:g} s") from error
    except (OSError, ValueError) as error:
        raise SourceUnavailable(f"no access token from {host}: {getattr(error, 'reason', error)}") from None
    return found if isinstance(found, dict) else {}


def _denied(options: ImapOptions, error: urllib.error.HTTPError) -> Exception:
    host = _host(options)
    if error.code == 429:
        after = error.headers.get("Retry-After", "")
        return RateLimited(f"{host} asks for patience", float(after) if after.isdigit() else 60.0)
    if error.code >= 500:
        return SourceUnavailable(f"{host} gives no access token now (status {error.code})")
    try:
        said = json.loads(error.read(_ANSWER_BYTES))["error"]
    except (OSError, ValueError, KeyError, TypeError):
        said = f"status {error.code}"
    return Permanent(
        f"{host} gives {options.user} no access token ({said}): grant access anew and set the secret"
        f" {options.refresh_token}"
    )


def _host(options: ImapOptions) -> str:
    return urllib.parse.urlsplit(options.token_url).hostname or options.token_url


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A refresh token goes to the address that was named, and to no other."""

    def redirect_request(self, *_: object) -> None:
        return None


_opener = urllib.request.build_opener(_NoRedirect)
