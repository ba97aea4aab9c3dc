"""Getting in: certificates, passwords, tokens, and what is said when it does not work."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs

import pytest
from pydantic import ValidationError

from connectors.imap import Imap
from connectors.imap_mail import auth, session
from connectors.imap_mail.options import ImapOptions
from tests.connectors_imap.mails import mail
from tests.connectors_imap.proxy import Proxy
from tests.support.context import Context
from tests.support.dovecot import PASSWORD, Account, Dovecot, certificate, free_port


def check(options: dict[str, Any], **secrets: str) -> str | None:
    session.forget()
    return Imap().check(Context(Imap.Options(**options), secrets={"mail": PASSWORD, **secrets}))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def tls(keys: tuple[Path, Path]) -> Iterator[Dovecot]:
    with Dovecot(certificate=keys, connections=2) as server:
        yield server


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_certificates_are_verified_against_the_named_authority(
    tls: Dovecot, keys: tuple[Path, Path], security: str
) -> None:
    account = tls.account("tess")
    port = tls.tls_port if security == "tls" else tls.port
    good = account.options(host="localhost", port=port, security=security, ca_file=str(keys[0]))
    assert check(good) is None
    problem = check({**good, "ca_file": None})
    assert problem == f"the certificate of localhost:{port} is not trusted: self-signed certificate"
    with Proxy(port) as proxy:  # the certificate names localhost and 127.0.0.1, and not this
        problem = check({**good, "host": "127.0.0.2", "port": proxy.port})
        assert problem
        assert problem.startswith((f"the certificate of 127.0.0.2:{proxy.port} is not", "nothing answers"))


def test_speaking_tls_to_a_plain_port_is_one_sentence(ann: Account) -> None:
    problem = check(ann.options(security="tls"))
    assert problem
    assert problem.startswith(f"no TLS with 127.0.0.1:{ann.server.port}: ")
    assert problem.endswith("check port and security")


def test_no_host_and_nobody_there_are_told_apart() -> None:
    options = {"user": "ann", "password": "mail", "timeout": 5}
    port = free_port()
    assert (
        check({**options, "host": "127.0.0.1", "port": port}) == f"nothing answers at 127.0.0.1, port {port}"
    )
    assert check({**options, "host": "no-such-host.invalid"}) == "there is no host no-such-host.invalid"


def test_what_does_not_speak_imap_is_one_sentence() -> None:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    options = {"host": "127.0.0.1", "port": server.server_port, "security": "plain", "timeout": 2}
    problem = check({**options, "user": "ann", "password": "mail"})
    server.shutdown()
    server.server_close()
    assert problem
    assert "\n" not in problem


def test_a_server_that_counts_connections_is_left_alone_for_a_while(tls: Dovecot) -> None:
    account = tls.account("greedy")
    with account.client(), account.client():
        problem = check(account.options())
    assert problem
    assert "asks for patience" in problem


def test_options_that_make_no_sense_are_refused() -> None:
    good = {"host": "x.example", "user": "ann", "password": "mail"}
    assert ImapOptions(**good).real_port == 993
    assert ImapOptions(**good, security="starttls").real_port == 143
    for wrong in (
        {"password": None},
        {"token": "other"},
        {"password": None, "refresh_token": "r"},
        {"token_url": "http://x.example/token"},
        {"ca_file": "relative.pem"},
        {"security": "plain", "ca_file": "/x.pem"},
        {"host": "ann@x.example"},
        {"user": "ann\r\nA1 LOGOUT"},
    ):
        with pytest.raises(ValidationError):
            ImapOptions(**{**good, **wrong})


def test_only_an_open_connection_to_elsewhere_is_warned_about(ann: Account) -> None:
    for host, warned in (("127.0.0.1", False), ("mail.example.invalid", True)):
        session.forget()
        context = Context(Imap.Options(**ann.options(host=host)), secrets={"mail": PASSWORD})
        Imap().check(context)
        assert ("not encrypted" in context.logged) == warned


class Tokens(BaseHTTPRequestHandler):
    """A provider of tokens, and at the same time whom Dovecot asks whether one is good."""

    asked: ClassVar[list[dict[str, list[str]]]] = []
    good: ClassVar[set[str]] = set()

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.asked.append(form)
        if form["refresh_token"] != ["refresh-me-please"]:
            self._answer(400, {"error": "invalid_grant"})
            return
        token = f"access-token-{len(self.asked)}"
        self.good.add(token)
        self._answer(200, {"access_token": token, "expires_in": 3600})

    def do_GET(self) -> None:
        token = parse_qs(self.path.partition("?")[2]).get("access_token", [""])[0]
        if token in self.good:
            self._answer(200, {"username": "olga", "active": True})
        else:
            self._answer(401, {"error": "invalid_token"})

    def _answer(self, status: int, told: dict[str, Any]) -> None:
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def provider() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Tokens)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def olga(provider: ThreadingHTTPServer) -> Iterator[Account]:
    more = "passdb {{\n  driver = oauth2\n  mechanisms = xoauth2\n  args = {folder}/oauth2.conf\n}}\n"
    server = Dovecot(mechanisms="plain xoauth2", more=more)
    (server.folder / "oauth2.conf").write_text(
        f"tokeninfo_url = http://127.0.0.1:{provider.server_port}/info?access_token=\n"
        "username_attribute = username\nactive_attribute = active\nactive_value = true\n"
    )
    with server:
        yield server.account("olga")


def test_a_refresh_token_gets_access_and_is_asked_once(olga: Account, provider: ThreadingHTTPServer) -> None:
    olga.append(mail(1))
    auth._tokens.clear()
    options = olga.options(
        password=None,
        refresh_token="refresh",
        client_id="me",
        token_url=f"http://127.0.0.1:{provider.server_port}/token",
    )
    before = len(Tokens.asked)
    assert check(options, refresh="refresh-me-please") is None
    assert check(options, refresh="refresh-me-please") is None
    assert len(Tokens.asked) == before + 1
    problem = check(options, refresh="revoked-by-the-provider")
    assert problem == (
        "127.0.0.1 gives olga no access token (invalid_grant): grant access anew and set the secret refresh"
    )


def test_an_access_token_is_enough_and_a_bad_one_is_told(olga: Account) -> None:
    Tokens.good.add("given-by-somebody")
    options = olga.options(password=None, token="token")
    assert check(options, token="given-by-somebody") is None
    problem = check(options, token="expired-long-ago")
    assert problem
    assert "refused the login of olga: check the secret token" in problem
    assert "expired-long-ago" not in problem
