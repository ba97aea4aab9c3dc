"""Issues, pull requests, comments and releases: what is kept of each, under which key, and the document it makes.

A key begins with a slash, which no path in a repository does: /issues/12, /pulls/13/comments/99, /releases/7.
"""

from __future__ import annotations

import re
from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from connectors.files.extract import parts_of
from farm.connector import Document, InvalidInput

KINDS = ("issues", "pulls", "comments", "releases")
_NUMBER = re.compile(r"/(issues|pulls?)/(\d+)(?:#|$)")
_PATH = re.compile(r"/(issues|pulls)/(\d+)(?:/(comments|reviews)/(\d+))?|/releases/(\d+)")
_KEPT = frozenset(
    "number title body state state_reason locked comments draft html_url created_at updated_at closed_at "  # noqa: SIM905
    "published_at name tag_name prerelease path line".split()
)


class Item(NamedTuple):
    """What is kept of one answer."""

    path: str
    updated_at: str
    version: str
    body: bytes
    """JSON."""


def item_of(stream: str, raw: Any) -> Item | None:
    """None where it is nothing that lands: a draft, or an answer of a form nobody knows."""
    if not isinstance(raw, dict) or (raw.get("draft") is True and stream == "releases"):
        return None
    path = _path(stream, raw)
    if not path:
        return None
    kept: dict[str, Any] = {name: raw[name] for name in _KEPT if raw.get(name) is not None}
    kept["user"] = _login(raw.get("user") or raw.get("author"))
    for name, inner in (("labels", "name"), ("assignees", "login"), ("assets", "name")):
        if raw.get(name):
            kept[name] = [one[inner] for one in raw[name] if isinstance(one, dict) and one.get(inner)]
    if isinstance(raw.get("milestone"), dict):
        kept["milestone"] = raw["milestone"].get("title")
    if isinstance(raw.get("pull_request"), dict) and raw["pull_request"].get("merged_at"):
        kept["merged_at"] = raw["pull_request"]["merged_at"]
    body = msgspec.json.encode(kept, order="sorted")
    updated_at = str(raw.get("updated_at") or raw.get("published_at") or raw.get("created_at") or "")
    # With the path in it: no two items share a version, so that none is ever taken for another one moved.
    version = blake2b(path.encode() + b"\0" + body, digest_size=12).hexdigest()
    return Item(path, updated_at, version, body)


def kinds_of(path: str) -> set[str]:
    """Which of KINDS have to be wanted for this item to land.

    >>> sorted(kinds_of("/pulls/13/comments/99")), kinds_of("/nothing")
    (['comments', 'pulls'], set())
    """
    found = _PATH.fullmatch(path)
    if found is None:
        return set()
    if found[5]:
        return {"releases"}
    return {found[1], "comments"} if found[3] else {found[1]}


def address_of(path: str) -> tuple[str, str]:
    """The stream of an item, and where the API has it below /repos/OWNER/NAME.

    >>> address_of("/pulls/13"), address_of("/pulls/13/reviews/9")
    (('issues', '/issues/13'), ('reviews', '/pulls/comments/9'))
    """
    found = _PATH.fullmatch(path)
    if found is None:
        raise ValueError(path)
    if found[5]:
        return "releases", path
    match found[3]:
        case "comments":
            return "comments", f"/issues/comments/{found[4]}"
        case "reviews":
            return "reviews", f"/pulls/comments/{found[4]}"
    return "issues", f"/issues/{found[2]}"


def document(key: str, path: str, body: bytes, repository: str) -> Document:
    """The document of an item."""
    kept = msgspec.json.decode(body)
    text = (kept.get("body") or "").replace("\r\n", "\n")
    title, by = kept.get("title") or "", kept.get("user") or ""
    found = _PATH.fullmatch(path)
    number = int(found[2]) if found and found[2] else None
    if found and found[3]:
        what = "Review comment" if found[3] == "reviews" else "Comment"
        title = f"{what} on #{number}" + (f" by {by}" if by else "")
    elif found and found[5]:
        title = kept.get("name") or kept.get("tag_name") or ""
    elements = []
    if text.strip():
        try:
            elements = parts_of(text.encode("utf-8", "replace"), "body.md").elements
        except InvalidInput:
            elements = []
    said = {
        name: kept[name]
        for name in kept
        if name not in ("title", "body", "html_url", "created_at", "updated_at", "user", "name")
    }
    return Document(
        key=key,
        text=text,
        title=title,
        uri=kept.get("html_url", ""),
        mime="text/markdown",
        created_at=_time(kept.get("created_at")),
        modified_at=_time(kept.get("updated_at") or kept.get("published_at")),
        metadata={"repository": repository, "kind": _kind(found), "author": by, **said}
        | ({"number": number} if number else {}),
        elements=elements,
    )


def _path(stream: str, raw: dict[str, Any]) -> str:
    html = str(raw.get("html_url") or "")
    match stream:
        case "issues" if isinstance(raw.get("number"), int):
            return f"/{'pulls' if raw.get('pull_request') else 'issues'}/{raw['number']}"
        case "releases" if isinstance(raw.get("id"), int):
            return f"/releases/{raw['id']}"
        case "comments" | "reviews" if isinstance(raw.get("id"), int) and (on := _NUMBER.search(html)):
            of = "issues" if on[1] == "issues" else "pulls"
            return f"/{of}/{on[2]}/{stream}/{raw['id']}"
    return ""


def _kind(found: re.Match[str] | None) -> str:
    if found is None or found[5]:
        return "release"
    if found[3]:
        return "review comment" if found[3] == "reviews" else "comment"
    return "pull request" if found[1] == "pulls" else "issue"


def _login(user: Any) -> str:
    return str(user.get("login") or "") if isinstance(user, dict) else ""


def _time(value: Any) -> float | None:
    try:
        return datetime.fromisoformat(value).timestamp() if value else None
    except (ValueError, TypeError):
        return None
