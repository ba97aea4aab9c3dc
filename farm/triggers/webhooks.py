"""Hears webhook deliveries as GitHub sends them, in a thread of its own, and answers once they are on disk.

A delivery is believed for its signature alone: HMAC-SHA256 over the raw body, compared in constant time with
each secret that is valid. What is refused is counted by its reason, and nothing of it is kept.

    202 accepted | repeated | ignored     400 malformed   401 signature   408 slow   413 too large
    200 pong                              415 no JSON     429 too many    503 the farm is stopping
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
import socket
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from farm import shortage
from farm.errors import FarmError, NotPossible
from farm.settings import WebhookSettings
from farm.telemetry import Name, log

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

PATH = "/github"
BODY_S = 15.0
"""How long a body may take to arrive."""
SENDERS = 1_024
CONNECTIONS = 256
_SIGNATURE = re.compile(r"sha256=([0-9a-f]{64})")
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_EVENT = re.compile(r"[a-z_]{1,64}")


class Verdict(StrEnum):
    """What became of a delivery that is genuine."""

    ACCEPTED = "accepted"
    REPEATED = "repeated"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One that is genuine."""

    id: str
    event: str
    payload: Mapping[str, Any]


Receive = Callable[[Delivery], Verdict]
"""Returns once what follows from the delivery is on disk. Raises NotPossible while the farm stops."""


class Refused(Exception):
    def __init__(self, status: int, why: str, retry_after_s: int | None = None) -> None:
        super().__init__(why)
        self.status, self.why, self.retry_after_s = status, why, retry_after_s


class Signatures:
    """Any of a few secrets; all are tried, so that the time taken does not tell which was right."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = [secret.encode() for secret in secrets]

    def good(self, body: bytes, signature: str) -> bool:
        """
        >>> Signatures(["It's a Secret to Everybody"]).good(
        ...     b"Hello, World!", "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17")
        True
        """
        good = False
        for secret in self._secrets:
            good |= hmac.compare_digest(hmac.new(secret, body, hashlib.sha256).hexdigest(), signature)
        return good


class Turns:
    """A bucket of turns for each sender, the newest senders remembered."""

    def __init__(self, per_s: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s, self._burst, self._clock = per_s, burst, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, sender: str) -> float:
        """0.0 where there is a turn, else how many seconds until the next."""
        now = self._clock()
        left, at = self._left.pop(sender, (float(self._burst), now))
        left = min(float(self._burst), left + (now - at) * self._per_s)
        wait_s = 0.0 if left >= 1 else (1 - left) / self._per_s
        self._left[sender] = (left if wait_s else left - 1, now)
        if len(self._left) > SENDERS:
            self._left.popitem(last=False)
        return wait_s


class Listener:
    """`start` it and `close` it; `facts` says where it listens and what came."""

    def __init__(self, settings: WebhookSettings, secrets: Sequence[str], receive: Receive) -> None:
        self.settings = settings
        self._secrets = tuple(secrets)
        self._signatures = Signatures(secrets)
        self._turns = Turns(settings.per_s, settings.burst)
        self._receive = receive
        self._counts: Counter[str] = Counter()
        self._thread: threading.Thread | None = None
        self._server: Any = None
        self._address: tuple[str, int] = (settings.host, settings.port)

    def start(self) -> None:
        """Returns once it listens. Raises FarmError in one sentence where it cannot."""
        try:
            import uvicorn
            from starlette.applications import Starlette
            from starlette.routing import Route
        except ImportError:
            raise FarmError(
                "[farm.webhooks] needs two libraries: pip install 'connector-farm[webhooks]'"
            ) from None
        bound = self._bind()
        app = Starlette(routes=[Route(PATH, self._hear, methods=["POST"])])
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                loop="asyncio",
                http="h11",
                ws="none",
                proxy_headers=False,
                server_header=False,
                limit_concurrency=CONNECTIONS,
                timeout_keep_alive=15,
                timeout_graceful_shutdown=3,
                h11_max_incomplete_event_size=32_768,
            )
        )
        self._thread = shortage.Thread(self._server.run, kwargs={"sockets": [bound]}, name="webhooks")
        self._thread.start()
        log(Name.WEBHOOK_LISTENING, host=self._address[0], port=self._address[1])

    def close(self) -> None:
        """What is being answered is answered; nothing new is heard."""
        if self._server is not None:
            self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(6)

    def hears(self, settings: WebhookSettings, secrets: Sequence[str]) -> bool:
        """Whether it is just this one; secrets may change under the same names."""
        return self.settings == settings and self._secrets == tuple(secrets)

    def facts(self) -> dict[str, Any]:
        host, port = self._address
        return {"host": host, "port": port, "path": PATH, "deliveries": dict(sorted(self._counts.items()))}

    def _bind(self) -> socket.socket:
        host, port = self.settings.host, self.settings.port
        try:
            family, kind, proto, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            bound = socket.socket(family, kind, proto)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            bound.listen(512)
        except OSError as error:
            raise FarmError(f"farm.webhooks: cannot listen on {host} port {port}: {error.strerror}") from None
        self._address = (host, bound.getsockname()[1])
        return bound

    # -- one request

    async def _hear(self, request: Request) -> Response:
        from starlette.responses import JSONResponse

        try:
            status, word = await self._judged(request)
        except Refused as refused:
            self._counts[f"refused: {refused.why}"] += 1
            if self._counts[f"refused: {refused.why}"] in (1, 10, 100) or not self._counts.total() % 1_000:
                log(
                    Name.WEBHOOK_REFUSED,
                    why=refused.why,
                    sender=_sender(request),
                    so_far=self._counts.total(),
                )
            headers = {"Retry-After": str(refused.retry_after_s)} if refused.retry_after_s else None
            # Nobody reads the rest of a body that is refused: the connection goes with it.
            close = {"Connection": "close"} if refused.status in (408, 413) else {}
            return JSONResponse({"error": refused.why}, refused.status, {**(headers or {}), **close})
        self._counts[word] += 1
        return JSONResponse({"delivery": word}, status)

    async def _judged(self, request: Request) -> tuple[int, str]:
        wait_s = self._turns.take(_sender(request))
        if wait_s:
            raise Refused(429, "too many", max(1, round(wait_s)))
        headers = request.headers
        signature = _SIGNATURE.fullmatch(headers.get("x-hub-signature-256", ""))
        if signature is None:
            raise Refused(401, "signature")
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refused(415, "no JSON")
        body = await self._body(request)
        if not self._signatures.good(body, signature[1]):
            raise Refused(401, "signature")
        id_, event = headers.get("x-github-delivery", ""), headers.get("x-github-event", "")
        if not _ID.fullmatch(id_) or not _EVENT.fullmatch(event):
            raise Refused(400, "malformed")
        if event == "ping":
            return 200, "pong"
        try:
            verdict = await asyncio.get_running_loop().run_in_executor(None, self._taken, id_, event, body)
        except NotPossible:
            raise Refused(503, "stopping", 30) from None
        return 202, verdict

    async def _body(self, request: Request) -> bytes:
        most = self.settings.max_body_bytes
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > most:
            raise Refused(413, "too large")
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_S):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > most:
                        raise Refused(413, "too large")
        except TimeoutError:
            raise Refused(408, "slow") from None
        except Exception as error:
            from starlette.requests import ClientDisconnect

            if isinstance(error, ClientDisconnect):
                raise Refused(400, "cut short") from None
            raise
        return bytes(body)

    def _taken(self, id_: str, event: str, body: bytes) -> Verdict:
        try:
            payload = json.loads(body)
        except (ValueError, RecursionError):
            raise Refused(400, "malformed") from None
        if not isinstance(payload, dict):
            raise Refused(400, "malformed")
        return self._receive(Delivery(id_, event, payload))


def _sender(request: Request) -> str:
    return request.client.host if request.client else ""
