"""One conversation with GitHub's REST API: conditional, paged by Link headers, and patient when it is asked to be.

Nothing is repeated here: what may work later is raised as such, and the farm's retry policy decides.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec
import urllib3

from connectors.git.command import Stopped
from farm.connector import Permanent, RateLimited, SourceUnavailable, Transient

VERSION = "2022-11-28"
MAX_BYTES = 64_000_000
SECONDARY_S = 60.0
"""Asked for patience without being told how much: as GitHub advises."""
_REDIRECTS = 5
_NEXT = re.compile(r'<([^>]+)>\s*;[^,]*\brel="?next"?')


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: `data` is None for 304 (as it was), 404 and 410 (not there)."""

    status: int
    data: Any = None
    etag: str = ""
    modified: str = ""
    next: str = ""
    """Address of the next page; empty on the last."""
    now: float = 0.0
    """The server's clock, Unix seconds."""
    poll_s: float = 0.0
    """How long it wants to be left alone about this."""


@dataclass
class Client:
    """Ask with `get`. `blocked` is told until when (Unix seconds, our clock) nothing is to be asked."""

    api: str
    token: Callable[[], str] = lambda: ""
    turn: Callable[[], bool] = lambda: True
    blocked: Callable[[float], None] = lambda _until: None
    clock: Callable[[], float] = time.time
    blocked_until: float = 0.0
    requests: int = field(default=0, init=False)
    _pool: urllib3.PoolManager | None = field(default=None, init=False)

    def get(self, url: str, *, etag: str = "", modified: str = "") -> Answer:
        """`url`: a whole one of this API, or a path of it. Raises a ConnectorError with a sentence."""
        conditions = {"If-None-Match": etag} if etag else {"If-Modified-Since": modified} if modified else {}
        token = self.token()
        if token:
            conditions["Authorization"] = f"Bearer {token}"
        return self._answer("GET", self._whole(url), conditions)

    def post(self, url: str, authorization: str) -> Any:
        """For a login: what is answered."""
        return self._answer("POST", self._whole(url), {"Authorization": authorization}).data

    def close(self) -> None:
        if self._pool is not None:
            self._pool.clear()

    def _whole(self, url: str) -> str:
        whole = url if "://" in url else self.api + url
        if urlsplit(whole)[:2] != urlsplit(self.api)[:2]:
            raise Permanent(f"{urlsplit(self.api).netloc} points to {urlsplit(whole).netloc}: not followed")
        return whole

    def _answer(self, method: str, url: str, headers: Mapping[str, str]) -> Answer:
        for _ in range(_REDIRECTS):
            left_s = self.blocked_until - self.clock()
            if left_s > 0:
                raise RateLimited(f"{self._host} is not to be asked for another {left_s:,.0f} s", left_s)
            if not self.turn():
                raise Stopped
            response, body = self._ask(method, url, headers)
            self._mind_limits(response)
            if response.status in (301, 302, 307, 308):
                url = self._whole(urljoin(url, response.headers.get("Location", "")))
                continue
            return self._judged(response, body)
        raise SourceUnavailable(f"{self._host} redirects in a circle")

    @property
    def _host(self) -> str:
        return urlsplit(self.api).netloc

    def _ask(
        self, method: str, url: str, headers: Mapping[str, str]
    ) -> tuple[urllib3.BaseHTTPResponse, bytes]:
        fixed = {
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": VERSION,
            "User-Agent": "connector-farm",
            "Accept-Encoding": "gzip",
        }
        self.requests += 1
        try:
            response = self._pooled().request(
                method, url, headers={**fixed, **headers}, preload_content=False, redirect=False
            )
            try:
                body = response.read(MAX_BYTES + 1, decode_content=True)
            except BaseException:
                response.close()
                raise
            if len(body) > MAX_BYTES:
                response.close()
                raise Permanent(f"{self._host} answered with more than {MAX_BYTES // 1_000_000} MB")
            # Read to the end: an answer cut short is noticed here, not taken for whole.
            if response.read(1):
                raise Permanent(f"{self._host} answered with more than it said")
            response.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise SourceUnavailable(f"{self._host} could not be asked: {_why(error)}") from None
        return response, body

    def _pooled(self) -> urllib3.PoolManager:
        if self._pool is None:
            waits: dict[str, Any] = {
                "timeout": urllib3.Timeout(connect=15, read=30),
                "retries": False,
                "maxsize": 1,
            }
            parts = urlsplit(self.api)
            proxy = getproxies().get(parts.scheme)
            around = bool(proxy) and not proxy_bypass(parts.hostname or "")
            self._pool = (
                urllib3.ProxyManager(proxy, **waits) if proxy and around else urllib3.PoolManager(**waits)
            )
        return self._pool

    def _mind_limits(self, response: urllib3.BaseHTTPResponse) -> None:
        """What the answer says about asking again; raises RateLimited where this question was not answered."""
        headers, now = response.headers, _date(response) or self.clock()
        refused = response.status in (403, 429)
        wait_s = _seconds(headers.get("Retry-After"))
        spent = headers.get("X-RateLimit-Remaining") == "0"
        if wait_s is None and spent and (reset := _seconds(headers.get("X-RateLimit-Reset"))) is not None:
            wait_s = max(1.0, reset - now + 1)
        if not refused:
            if spent and wait_s is not None:  # this one was the last
                self._block(wait_s)
            return
        if wait_s is None and (
            response.status == 429 or response.headers.get("X-RateLimit-Resource") == "secondary"
        ):
            wait_s = SECONDARY_S
        if wait_s is not None:
            self._block(wait_s)
            raise RateLimited(f"{self._host} asks for patience", wait_s)

    def _block(self, wait_s: float) -> None:
        self.blocked_until = self.clock() + wait_s
        self.blocked(self.blocked_until)

    def _judged(self, response: urllib3.BaseHTTPResponse, body: bytes) -> Answer:
        status, headers = response.status, response.headers
        about = Answer(
            status,
            etag=headers.get("ETag", ""),
            modified=headers.get("Last-Modified", ""),
            next=_next(headers.get("Link", "")),
            now=_date(response) or self.clock(),
            poll_s=_seconds(headers.get("X-Poll-Interval")) or 0.0,
        )
        if status in (200, 201):
            try:
                return replace(about, data=msgspec.json.decode(body))
            except msgspec.DecodeError:
                raise SourceUnavailable(
                    f"{self._host} sent an answer that is no JSON, or is cut short"
                ) from None
        if status in (304, 404, 410, 451):
            return about
        said = _message(body)
        if status == 401:
            raise Permanent(f"{self._host} refused the token: {said}")
        if status == 403:
            if "rate limit" in said.lower() or "abuse" in said.lower():
                self._block(SECONDARY_S)
                raise RateLimited(f"{self._host} asks for patience: {said}", SECONDARY_S)
            raise Permanent(f"{self._host} does not allow it: {said}")
        if status >= 500:
            raise SourceUnavailable(f"{self._host} is in trouble: {status} {said}".rstrip())
        raise Transient(f"{self._host} answered {status} {said}".rstrip())


def _next(link: str) -> str:
    """
    >>> _next('<https://a/x?page=2>; rel="next", <https://a/x?page=9>; rel="last"')
    'https://a/x?page=2'
    """
    found = _NEXT.search(link)
    return found[1] if found else ""


def _seconds(value: str | None) -> float | None:
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        try:
            return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
        except (ValueError, TypeError):
            return None


def _date(response: urllib3.BaseHTTPResponse) -> float | None:
    try:
        return parsedate_to_datetime(response.headers.get("Date", "")).timestamp()
    except (ValueError, TypeError):
        return None


def _message(body: bytes) -> str:
    try:
        said = msgspec.json.decode(body)
        return str(said.get("message", ""))[:200] if isinstance(said, dict) else ""
    except msgspec.DecodeError:
        return ""


def _why(error: Exception) -> str:
    match error:
        case urllib3.exceptions.NameResolutionError():
            return "its name is not known"
        case urllib3.exceptions.SSLError():
            return f"its certificate is not trusted ({error})"[:200]
        case urllib3.exceptions.ConnectTimeoutError() | urllib3.exceptions.ReadTimeoutError():
            return "it does not answer in time"
        case urllib3.exceptions.NewConnectionError():
            return "nobody answers there"
        case urllib3.exceptions.ProtocolError() | urllib3.exceptions.DecodeError():
            return "the answer was cut short"
    return type(error).__name__
