"""Sends webhook deliveries as GitHub does: one connection, kept open, and a signature over the raw body."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import uuid
from typing import Any


class Sender:
    def __init__(self, port: int, secret: str) -> None:
        self.port, self.secret = port, secret
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def send(
        self,
        event: str,
        payload: dict[str, Any] | bytes,
        *,
        id_: str = "",
        signature: str | None = None,
        headers: dict[str, str] | None = None,
        method: str = "POST",
        path: str = "/github",
    ) -> tuple[int, str]:
        """Status, and what the answer says of the delivery (or the error)."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        signed = "sha256=" + hmac.new(self.secret.encode(), body, hashlib.sha256).hexdigest()
        given = {
            "Content-Type": "application/json",
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": id_ or str(uuid.uuid4()),
            "X-Hub-Signature-256": signed if signature is None else signature,
            **(headers or {}),
        }
        try:
            self._connection.request(method, path, body, {k: v.encode() for k, v in given.items() if v})
            answer = self._connection.getresponse()
            raw = answer.read()
        except (http.client.HTTPException, ConnectionError):
            self._connection.close()
            raise
        said = json.loads(raw) if raw[:1] == b"{" else {}
        return answer.status, said.get("delivery") or said.get("error") or ""

    def close(self) -> None:
        self._connection.close()


def push(slug: str, branch: str = "main") -> dict[str, Any]:
    return {"ref": f"refs/heads/{branch}", "repository": {"full_name": slug, "default_branch": "main"}}


def issue(slug: str, number: int, action: str = "edited") -> dict[str, Any]:
    return {"action": action, "issue": {"number": number}, "repository": {"full_name": slug}}
