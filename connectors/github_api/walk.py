"""Walks through one stream of a repository's items, page by page, and goes on where the last walk was ended.

A full walk goes by creation, which updates do not reorder; after it, the shelf holds exactly what there is. A
look for news asks for what changed since the newest change seen, newest first: what changes meanwhile moves to
the front, so that nothing slips from an unread page to a read one. Its address stays the same while there is
no news, so that its ETag answers for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from connectors.github_api.client import Answer, Client
from connectors.github_api.items import Item, address_of, item_of
from connectors.github_api.shelf import Page, Shelf
from farm.connector import Permanent

PER_PAGE = 100
LAG_S = 10.0
"""What changed may show in a listing a little later than it happened."""
RENEW_S = 7 * 86400.0
"""A full walk this old is made again: a listing of news says nothing of what was deleted."""
STALE_S = 86400.0
"""A walk that was left this long ago begins anew."""

STREAMS = {
    "issues": "/issues",
    "comments": "/issues/comments",
    "reviews": "/pulls/comments",
    "releases": "/releases",
}
_FULL = {
    "issues": "state=all&sort=created&direction=asc&",
    "comments": "sort=created&direction=asc&",
    "reviews": "sort=created&direction=asc&",
    "releases": "",
}
_NEWS = {"issues": "state=all&sort=updated&direction=desc&", "comments": "sort=updated&direction=desc&"}
_NEWS["reviews"] = _NEWS["comments"]


@dataclass
class Walker:
    """The walks of one repository."""

    slug: str
    client: Client
    shelf: Shelf
    alive: Callable[[int], None] = lambda _pages: None
    clock: Callable[[], float] = time.time
    changed: int = 0
    """Items that came, changed or went."""

    def renew(self, streams: Iterable[str], *, full: bool) -> None:
        """Bring the shelf up to date; `full`: also with what was deleted. Raises as `Client.get`.

        A full pass that was ended early, by a limit or a kill, goes on: what it has walked is not walked again.
        """
        name, now = f"{self.slug} pass", self.clock()
        open_pass = self.shelf.mark(name)
        if open_pass is not None and now - open_pass["touched"] > STALE_S:
            open_pass = None
        if full or open_pass is not None:
            open_pass = {"began": open_pass["began"] if open_pass else now, "touched": now}
            with self.shelf.writing():
                self.shelf.set_mark(name, open_pass)
        for stream in streams:
            self.walk(stream, full_since=open_pass["began"] if open_pass else None)
        with self.shelf.writing():
            self.shelf.set_mark(name, None)

    def walk(self, stream: str, *, full_since: float | None = None) -> None:
        """One stream; in full where its last full walk is older than `full_since`."""
        name = f"{self.slug} {stream}"
        state: dict[str, Any] = self.shelf.mark(name) or {"number": 0}
        now = self.clock()
        full = full_since is not None and state.get("full_at", 0.0) < full_since
        if state.get("rest_until", 0.0) > now and not full:
            return
        under_way = state.get("at")
        if under_way is None or now - under_way["touched"] > STALE_S or (full and not under_way["full"]):
            state["at"] = self._begin(stream, state, full or self._is_due(stream, state, now), now)
        url: str = state["at"]["url"]
        while url:
            known = self.shelf.page(url)
            if known is not None and not known.next and len(known.paths) >= PER_PAGE:
                known = None  # a page that is full and was the last: unchanged, it may have one behind it now
            etag, modified = (known.etag, known.modified) if known else ("", "")
            answer = self.client.get(url, etag=etag, modified=modified)
            page = self._read(stream, state, url, answer, known)
            url = page.next
        self._end(name, stream, state)

    def one(self, path: str) -> str | None:
        """Fetch a single item; its version, or None where it is gone."""
        stream, where = address_of(path)
        answer = self.client.get(f"/repos/{self.slug}{where}")
        item = item_of(stream, answer.data) if answer.data is not None else None
        with self.shelf.writing():
            if item is None or item.path != path:  # gone, or moved to another repository
                self.shelf.drop(self.slug, path)
                return None
            state = self.shelf.mark(f"{self.slug} {stream}") or {"number": 0}
            self.shelf.put(self.slug, stream, [item], state["number"] + 1)
        return item.version

    def _is_due(self, stream: str, state: dict[str, Any], now: float) -> bool:
        return stream not in _NEWS or "since" not in state or now - state.get("full_at", 0.0) > RENEW_S

    def _begin(self, stream: str, state: dict[str, Any], full: bool, now: float) -> dict[str, Any]:
        query = _FULL[stream] if full else f"{_NEWS[stream]}since={state['since']}&"
        url = f"{self.client.api}/repos/{self.slug}{STREAMS[stream]}?{query}per_page={PER_PAGE}"
        if full:
            state["number"] += 1
        return {
            "url": url,
            "first": url,
            "full": full,
            "began": now,
            "touched": now,
            "newest": "",
            "pages": 0,
        }

    def _read(self, stream: str, state: dict[str, Any], url: str, answer: Answer, known: Page | None) -> Page:
        at, number = state["at"], state["number"]
        items: list[Item] = []
        if answer.status == 304 and known is not None:
            page = known
        elif answer.status == 410:  # issues are switched off
            page = Page(url, "", "", "", [])
        elif not isinstance(answer.data, list):
            raise Permanent(f"{self.slug} does not exist, or may not be read without a token that may see it")
        else:
            items = [item for raw in answer.data if (item := item_of(stream, raw)) is not None]
            page = Page(url, answer.etag, answer.modified, answer.next, [item.path for item in items])
        with self.shelf.writing():
            self.changed += self.shelf.put(self.slug, stream, items, number)
            if at["full"]:
                self.shelf.saw(self.slug, page.paths, number)
            self.shelf.keep_page(page)
            if not at["pages"]:
                at["server_now"] = answer.now
                at["newest"] = max((item.updated_at for item in items), default="")
            at["pages"] += 1
            at["touched"] = self.clock()
            at["url"] = page.next
            if answer.poll_s:
                state["rest_until"] = self.clock() + answer.poll_s
            self.shelf.set_mark(f"{self.slug} {stream}", state)
        self.alive(at["pages"])
        return page

    def _end(self, name: str, stream: str, state: dict[str, Any]) -> None:
        at = state.pop("at")
        with self.shelf.writing():
            if at["full"]:
                self.changed += self.shelf.sweep(self.slug, stream, state["number"])
                state["full_at"] = at["began"]
                state["since"] = _iso(at.get("server_now", at["began"]) - LAG_S)
            elif at["newest"] and (news := _back(at["newest"])) > state["since"]:
                self.shelf.forget_page(at["first"])
                state["since"] = news
            self.shelf.set_mark(name, state)


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _back(moment: str) -> str:
    return _iso(datetime.fromisoformat(moment).timestamp() - LAG_S)
