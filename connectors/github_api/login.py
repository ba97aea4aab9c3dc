"""Who we are to GitHub: nobody, a token, or an App that asks for a token of an hour with a signed note."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from connectors.github_api.client import Client
from farm.connector import MissingDependency, Permanent, SourceUnavailable

EARLY_S = 300.0
"""A token that ends this soon is renewed."""


@dataclass
class AppLogin:
    """A GitHub App's installation token; kept in memory only."""

    app: str
    """Its id, or its client id."""
    installation: int
    """0: the one that may see `slug`."""
    key: Callable[[], str]
    """Its private key, PEM."""
    slug: str
    client: Client
    clock: Callable[[], float] = time.time
    _token: str = field(default="", init=False, repr=False)
    _ends_at: float = field(default=0.0, init=False)

    def token(self) -> str:
        if self.clock() > self._ends_at - EARLY_S:
            self._renew()
        return self._token

    def _renew(self) -> None:
        note = f"Bearer {self._note()}"
        installation = self.installation
        if not installation:
            self.client.token = lambda: note.removeprefix("Bearer ")
            found = self.client.get(f"/repos/{self.slug}/installation").data
            if not isinstance(found, dict):
                raise Permanent(f"the GitHub App {self.app} is not installed for {self.slug}")
            installation = found["id"]
        given = self.client.post(f"/app/installations/{installation}/access_tokens", note)
        if not isinstance(given, dict) or "token" not in given:
            raise Permanent(f"the GitHub App {self.app} has no installation {installation}")
        self._token = given["token"]
        try:
            self._ends_at = datetime.fromisoformat(given["expires_at"]).timestamp()
        except (KeyError, ValueError):
            raise SourceUnavailable("the token of the GitHub App came without its end") from None

    def _note(self) -> str:
        try:
            import jwt
        except ImportError:
            raise MissingDependency(
                "a GitHub App needs PyJWT: pip install 'connector-farm[github]'"
            ) from None
        now = int(self.clock())
        try:
            return jwt.encode(
                {"iat": now - 60, "exp": now + 540, "iss": self.app}, self.key(), algorithm="RS256"
            )
        except (ValueError, TypeError, jwt.PyJWTError):
            raise Permanent("the private key of the GitHub App is none: it has to be its PEM file") from None
