"""A GitHub of the tests' own, on loopback: git served by git's own http-backend, and a REST API that counts.

It pages by Link headers, answers ETags with 304, and can be told to fail: `fault` is asked before each answer.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import json
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.connectors_github.gits import ENVIRONMENT, Work

Reply = tuple[int, dict[str, str], bytes]
BACKEND = Path(subprocess.check_output(["git", "--exec-path"], text=True).strip(), "git-http-backend")


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    status: int = 0
    bytes: int = 0
    command: str = ""
    """What git's protocol was asked for: ls-refs, fetch."""


@dataclass
class Project:
    """What one repository holds beside its files."""

    issues: dict[int, dict[str, Any]] = field(default_factory=dict)
    comments: dict[int, dict[str, Any]] = field(default_factory=dict)
    reviews: dict[int, dict[str, Any]] = field(default_factory=dict)
    releases: dict[int, dict[str, Any]] = field(default_factory=dict)


class Hub:
    """`with Hub(folder) as hub:` then `hub.repository("octo/hello")`; `hub.url` is its base_url."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[Asked] = []
        self.projects: dict[str, Project] = {}
        self.fault: Callable[[Asked], Reply | None] = lambda _asked: None
        self.password = ""
        """What git and the API have to be given; empty: nothing."""
        self.quota: int | None = None
        """X-RateLimit-Remaining; counted down by what is not a 304."""
        self.old = False
        """Speaks git's first protocol only."""
        self.now = 1_700_000_000.0
        self._lock = threading.Lock()
        hub = self

        class Handler(_Handler):
            of = hub

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    # -- what it holds

    def repository(self, slug: str, files: dict[str, str | bytes | None] | None = None) -> Work:
        work = Work(self.folder / f"{slug}.git")
        work.git("config", "http.getanyfile", "true")
        work.commit(files or {"README.md": "# Hello\n\nworld\n"})
        self.projects[slug] = Project()
        return work

    def tick(self, seconds: float = 60.0) -> str:
        self.now += seconds
        return _iso(self.now)

    def issue(
        self, slug: str, number: int, title: str, body: str = "", *, pull: bool = False
    ) -> dict[str, Any]:
        kind = "pull" if pull else "issues"
        found = self.projects[slug].issues.get(number) or {
            "number": number,
            "id": 1000 + number,
            "state": "open",
            "created_at": self.tick(),
            "user": {"login": "mona"},
            "labels": [{"name": "bug"}],
            "html_url": f"{self.url}/{slug}/{kind}/{number}",
            **({"pull_request": {"merged_at": None}} if pull else {}),
        }
        self.projects[slug].issues[number] = found | {"title": title, "body": body, "updated_at": self.tick()}
        return found

    def comment(self, slug: str, number: int, id_: int, body: str, *, review: bool = False) -> None:
        kind = "pull" if self.projects[slug].issues[number].get("pull_request") else "issues"
        anchor = f"discussion_r{id_}" if review else f"issuecomment-{id_}"
        (self.projects[slug].reviews if review else self.projects[slug].comments)[id_] = {
            "id": id_,
            "body": body,
            "user": None,
            "created_at": self.tick(),
            "updated_at": self.tick(),
            "html_url": f"{self.url}/{slug}/{kind}/{number}#{anchor}",
        }

    def release(self, slug: str, id_: int, name: str, body: str = "") -> None:
        self.projects[slug].releases[id_] = {
            "id": id_,
            "tag_name": f"v{id_}",
            "name": name,
            "body": body,
            "draft": False,
            "created_at": self.tick(),
            "published_at": self.tick(),
            "author": {"login": "mona"},
            "html_url": f"{self.url}/{slug}/releases/tag/v{id_}",
        }

    # -- what it was asked

    def forget(self) -> None:
        self.asked.clear()

    def api(self, *statuses: int) -> list[str]:
        """Paths of the API that were asked for, answered with one of these (all, without)."""
        return [
            asked.path.removeprefix("/api/v3")
            for asked in self.asked
            if asked.path.startswith("/api/") and (not statuses or asked.status in statuses)
        ]

    def fetches(self) -> int:
        """How often git was asked for objects."""
        return sum(asked.command == "fetch" for asked in self.asked)

    # -- answers

    def answer(self, asked: Asked, body: bytes) -> Reply:
        plain = gzip.decompress(body) if asked.headers.get("content-encoding") == "gzip" else body
        command = re.search(rb"command=([a-z-]+)", plain[:200])
        asked.command = command[1].decode() if command else ""
        faulty = self.fault(asked)
        if faulty is not None:
            return faulty
        if asked.path.startswith("/api/v3/"):
            return self._api(asked)
        return self._git(asked, body)

    def _allowed(self, given: str, *, basic: bool) -> bool:
        if not self.password:
            return True
        if not basic:
            return given == f"Bearer {self.password}"
        with contextlib.suppress(ValueError):
            return base64.b64decode(given.removeprefix("Basic ")).decode().rpartition(":")[2] == self.password
        return False

    def _api(self, asked: Asked) -> Reply:
        limits: dict[str, str] = {}
        if not self._allowed(asked.headers.get("authorization", ""), basic=False):
            return _json(401, {"message": "Bad credentials"})
        parts = urlsplit(asked.path.removeprefix("/api/v3"))
        words = parts.path.strip("/").split("/")
        slug = "/".join(words[1:3])
        project = self.projects.get(slug)
        if words[0] != "repos" or project is None:
            return _json(404, {"message": "Not Found"})
        if self.quota is not None:
            if self.quota <= 0:
                reset = str(int(self.now) + 3600)
                return _json(
                    403,
                    {"message": "API rate limit exceeded"},
                    {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset},
                )
            self.quota -= 1
            limits = {
                "X-RateLimit-Remaining": str(self.quota),
                "X-RateLimit-Reset": str(int(self.now) + 3600),
            }
        status, headers, body = self._resource(project, slug, words[3:], parse_qs(parts.query), parts.path)
        if status == 200:
            headers["ETag"] = f'W/"{hashlib.sha1(body + headers.get("Link", "").encode()).hexdigest()}"'
            if asked.headers.get("if-none-match") == headers["ETag"]:
                status, body = 304, b""
                if self.quota is not None:
                    self.quota += 1
        return status, {**headers, **limits}, body

    def _resource(
        self, project: Project, slug: str, words: list[str], query: dict[str, list[str]], path: str
    ) -> Reply:
        if not words:
            return _json(200, {"full_name": slug, "default_branch": "main"})
        tables = {
            "issues": project.issues,
            "issues/comments": project.comments,
            "pulls/comments": project.reviews,
            "releases": project.releases,
        }
        name = "/".join(words)
        if name in tables:
            return self._listing(list(tables[name].values()), query, path)
        table, _, key = name.rpartition("/")
        found = tables.get(table, {}).get(int(key)) if key.isdigit() else None
        return _json(200, found) if found else _json(404, {"message": "Not Found"})

    def _listing(self, rows: list[dict[str, Any]], query: dict[str, list[str]], path: str) -> Reply:
        said = {name: values[0] for name, values in query.items()}
        if "since" in said:
            rows = [row for row in rows if row["updated_at"] >= said["since"]]
        order = f"{said.get('sort', 'created')}_at"
        rows.sort(key=lambda row: row.get(order, ""), reverse=said.get("direction", "desc") == "desc")
        size, page = int(said.get("per_page", 30)), int(said.get("page", 1))
        part = rows[(page - 1) * size : page * size]
        headers = {}
        if len(rows) > page * size:
            rest = "&".join(f"{k}={v}" for k, v in {**said, "page": page + 1}.items())
            headers["Link"] = f'<{self.url}/api/v3{path}?{rest}>; rel="next", <{self.url}/x>; rel="last"'
        return _json(200, part, headers)

    def _git(self, asked: Asked, body: bytes) -> Reply:
        if not self._allowed(asked.headers.get("authorization", ""), basic=True):
            return 401, {"WWW-Authenticate": 'Basic realm="hub"'}, b""
        parts = urlsplit(asked.path)
        done = subprocess.run(
            [str(BACKEND)],
            input=body,
            capture_output=True,
            check=False,
            env={
                **ENVIRONMENT,
                "GIT_PROJECT_ROOT": str(self.folder),
                "GIT_HTTP_EXPORT_ALL": "1",
                "REQUEST_METHOD": asked.method,
                "PATH_INFO": parts.path,
                "QUERY_STRING": parts.query,
                "CONTENT_TYPE": asked.headers.get("content-type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": asked.headers.get("content-encoding", ""),
                "GIT_PROTOCOL": "" if self.old else asked.headers.get("git-protocol", ""),
                "REMOTE_ADDR": "127.0.0.1",
            },
        )
        head, _, out = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        status = int(headers.pop("Status", "200").split()[0])
        return status, headers, out


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client that was killed is no error."""


class _Handler(BaseHTTPRequestHandler):
    of: Hub
    protocol_version = "HTTP/1.1"
    wbufsize = 65_536

    def _serve(self) -> None:
        body = self._body()
        asked = Asked(self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
        self.of.asked.append(asked)
        status, headers, out = self.of.answer(asked, body)
        asked.status, asked.bytes = status, len(out)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.send_response_only(status)
            self.send_header("Date", formatdate(self.of.now, usegmt=True))
            for name, value in {"Content-Length": str(len(out)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(out)
        if headers.get("Connection") == "close":
            self.close_connection = True

    do_GET = do_POST = _serve

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return b"".join(self._chunks())

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def log_message(self, *_: object) -> None:
        pass


def _json(status: int, data: Any, headers: dict[str, str] | None = None) -> Reply:
    return status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(data).encode()


def _iso(at: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
