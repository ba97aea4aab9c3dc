"""The tutorial's connector, as it stands on the page, through a real farm against a real server."""

from __future__ import annotations

import json
import re
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from farm import secrets
from tests.support.farms import Farm

PAGE = Path(__file__).parents[2] / "docs" / "tutorial-connector.md"
TOKEN = "t0ken-of-the-tutorial"


def block(language: str) -> str:
    """The page's longest block in this language."""
    return max(re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.M | re.S), key=len)


class Service(ThreadingHTTPServer):
    """The bookmark service of the page."""

    def __init__(self) -> None:
        self.bookmarks: dict[str, dict[str, Any]] = {
            str(n): {
                "changed": "1",
                "title": f"Bookmark {n}",
                "url": f"https://example.org/{n}",
                "notes": f"Notes about number {n}.",
                "tags": ["read", f"t{n}"],
            }
            for n in range(3)
        }
        self.bookmarks["9"] = {"changed": "1", "title": "Bad", "url": "", "notes": "", "tags": []}
        self.asked: list[str] = []
        self.patience = 0
        super().__init__(("127.0.0.1", 0), Answer)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    server: Service

    def do_GET(self) -> None:
        service = self.server
        service.asked.append(self.path)
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self._say(401, {})
        if service.patience:
            service.patience -= 1
            return self._say(429, {}, {"Retry-After": "1"})
        _, _, key = self.path.partition("/bookmarks/")
        if not key:
            rows = [{"id": int(k), "changed": b["changed"]} for k, b in service.bookmarks.items()]
            return self._say(200, {"bookmarks": rows})
        return self._say(200, service.bookmarks[key]) if key in service.bookmarks else self._say(410, {})

    def _say(self, code: int, body: object, headers: dict[str, str] | None = None) -> None:
        raw = json.dumps(body).encode()
        self.send_response(code)
        for name, value in ({"Content-Length": str(len(raw))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Service]:
    found = Service()
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield found
    found.shutdown()
    found.server_close()
    thread.join()


@pytest.fixture
def farm(tmp_path: Path, service: Service) -> Iterator[Farm]:
    (tmp_path / "bookmarks.py").write_text(block("python"))
    table = tomllib.loads(block("toml"))["sources"]["links"]
    table["options"]["url"] = service.url
    table["limits"] = {**table["limits"], "requests_per_second": 50}
    home = tmp_path / "home"
    with Farm(home, {"links": table}) as found:
        found.environment["PYTHONPATH"] += f":{tmp_path}"
        secrets.put("links", TOKEN, home=home)
        yield found


def test_the_connector_of_the_page_works_as_it_says(farm: Farm, service: Service) -> None:
    assert farm.json("sources", "check")[0]["ok"]
    assert {
        row["title"] for row in farm.json("sources", "preview", "links") if row["kind"] == "document"
    } == {
        "Bookmark 0",
        "Bookmark 1",
        "Bookmark 2",
    }
    assert farm.drain() == 3, "one of them has no address"
    assert [hit["uri"] for hit in farm.json("search", "number 1")] == ["https://example.org/1"]
    assert farm.json("quarantine", "list")[0]["message"] == "a bookmark without an address"
    tags = "SELECT data ->> 'tag' FROM record WHERE deleted_at IS NULL ORDER BY key"
    assert [row[0] for row in farm.store(tags)] == ["read", "t0", "read", "t1", "read", "t2"]

    service.asked.clear()
    service.bookmarks["1"] |= {"changed": "2", "notes": "Quite different."}
    del service.bookmarks["2"]
    farm.drain()
    assert service.asked == ["/bookmarks", "/bookmarks/1"], "nothing is asked for twice"
    assert [row["key"] for row in farm.json("documents", "list")] == ["0", "1"]

    service.asked.clear()
    service.patience = 1
    farm.drain()
    assert service.asked == ["/bookmarks", "/bookmarks"]
    assert farm.ledger("SELECT attempts FROM job ORDER BY id DESC LIMIT 1") == [(1,)], "patience is free"


def test_a_token_that_is_not_accepted_is_told_without_it(farm: Farm) -> None:
    secrets.put("links", "wrong-wrong-wrong", home=farm.home)
    checked = farm.cli("sources", "check")
    assert checked.returncode == 1
    assert "the token is not accepted" in checked.stdout
    assert farm.drain() == 3
    for path in farm.home.rglob("*"):
        if path.is_file() and path.parent.name != "secrets":
            assert b"wrong-wrong" not in path.read_bytes(), path


def test_the_commands_and_options_of_the_page_are_right(farm: Farm, service: Service) -> None:
    table = tomllib.loads(block("toml"))["sources"]["links"]
    farm.configure({"links": {**table, "options": {"url": "ftp://x", "token": "links"}}})
    told = farm.cli("sources", "check").stderr
    assert "sources.links.options.url: 'ftp://x' must be an address" in told
