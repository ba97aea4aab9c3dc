"""Issues, pull requests, comments and releases: what is asked, what is not asked again, and what goes wrong."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from farm.connector import Gone, Listing, Permanent, RateLimited, SourceUnavailable, Transient, Unit
from tests.connectors_github.conftest import Source
from tests.connectors_github.hub import Asked, Hub, Reply
from tests.connectors_github.recorded import scenario

Make = Callable[..., Source]
SLUG = "octo/hello"
ITEMS = ["issues", "pulls", "comments", "releases"]


@pytest.fixture
def filled(hub: Hub) -> Hub:
    """250 issues, some comments, one pull request with a review comment, one release."""
    hub.repository(SLUG)
    for number in range(1, 251):
        hub.issue(SLUG, number, f"Issue {number}", f"body of {number}\r\n\r\n- an item")
    hub.issue(SLUG, 300, "A pull request", "changes", pull=True)
    hub.comment(SLUG, 7, 70, "a comment")
    hub.comment(SLUG, 300, 71, "looks good")
    hub.comment(SLUG, 300, 72, "on this line", review=True)
    hub.release(SLUG, 5, "Five", "# Notes\n")
    return hub


def items(source: Make, hub: Hub, **options: object) -> Source:
    return source(repository=SLUG, base_url=hub.url, **{"content": ITEMS, **options})


def test_everything_lands_once_and_nothing_new_costs_no_answer(source: Make, filled: Hub) -> None:
    reader = items(source, filled)
    assert len(reader.run()) == 255
    assert len(filled.api()) == 3 + 1 + 1 + 1, "pages of 100, one listing a kind, and no request per item"
    issue = reader.documents["/issues/7"]
    assert (issue.title, issue.text) == ("Issue 7", "body of 7\n\n- an item")
    assert (issue.metadata["state"], issue.metadata["labels"], issue.metadata["author"]) == (
        "open",
        ["bug"],
        "mona",
    )
    assert [element.type for element in issue.elements] == ["NarrativeText", "ListItem"]
    assert reader.documents["/pulls/300"].metadata["kind"] == "pull request"
    assert reader.documents["/pulls/300/reviews/72"].title == "Review comment on #300"
    assert reader.documents["/issues/7/comments/70"].uri.endswith("/issues/7#issuecomment-70")
    assert reader.documents["/releases/5"].title == "Five"

    reader.run()
    filled.forget()
    assert reader.run() == []
    assert filled.api(200) == [], "only 304"
    assert len(filled.api(304)) == 4
    assert Listing(complete=True) in reader.items


def test_one_change_and_one_deletion(source: Make, filled: Hub) -> None:
    reader = items(source, filled)
    reader.run()
    reader.run()
    filled.issue(SLUG, 9, "Issue 9, renamed", "body")
    filled.forget()
    assert reader.run() == ["/issues/9"]
    assert len(filled.api(200)) == 1
    assert reader.documents["/issues/9"].title == "Issue 9, renamed"

    del filled.projects[SLUG].issues[9]
    del filled.projects[SLUG].comments[70]
    reader.run(full=True)
    assert "/issues/9" not in reader.documents
    assert "/issues/7/comments/70" not in reader.documents
    assert len(reader.documents) == 253


def test_a_release_that_is_gone_is_noticed_at_once(source: Make, filled: Hub) -> None:
    reader = items(source, filled)
    reader.run()
    filled.projects[SLUG].releases.clear()
    reader.run()
    assert "/releases/5" not in reader.documents


def test_a_full_look_at_what_did_not_change_is_answered_by_etags(source: Make, filled: Hub) -> None:
    reader = items(source, filled)
    reader.run()
    filled.forget()
    assert reader.run(full=True) == []
    assert (len(filled.api(304)), filled.api(200)) == (6, [])


def test_an_outage_in_the_middle_loses_no_page_and_asks_for_none_twice(source: Make, filled: Hub) -> None:
    reader = items(source, filled)
    filled.fault = lambda asked: (502, {}, b"<html>bad gateway") if "page=2" in asked.path else None
    with pytest.raises(SourceUnavailable, match="in trouble: 502"):
        reader.run()
    filled.fault = lambda asked: None
    filled.forget()
    assert len(reader.run()) == 255
    assert len(filled.api()) == 5, "the first page was not asked for again"


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ((200, {"Content-Length": "5000", "Connection": "close"}, b'[{"number": 1'), SourceUnavailable),
        ((200, {}, b'[{"number": 1'), SourceUnavailable),
        ((200, {"Content-Encoding": "gzip"}, b"not gzip at all"), SourceUnavailable),
        ((500, {}, b""), SourceUnavailable),
        ((422, {}, b'{"message": "Validation Failed"}'), Transient),
        ((401, {}, b'{"message": "Bad credentials"}'), Permanent),
        ((403, {}, b'{"message": "Resource not accessible by integration"}'), Permanent),
        ((404, {}, b"{}"), Permanent),
        ((200, {}, b'{"message": "not a list"}'), Permanent),
    ],
)
def test_a_bad_answer_is_a_sentence_and_lands_nothing(
    source: Make, filled: Hub, reply: Reply, error: type[Exception]
) -> None:
    reader = items(source, filled)
    filled.fault = lambda asked: reply if "/issues?" in asked.path else None
    with pytest.raises(error) as raised:
        reader.run()
    assert str(raised.value)
    assert "\n" not in str(raised.value)
    filled.fault = lambda asked: None
    assert len(reader.run()) == 255


def test_a_secondary_limit_is_waited_for_and_nothing_is_asked_meanwhile(source: Make, filled: Hub) -> None:
    reader = items(source, filled)
    refusals = iter([(403, {"Retry-After": "1"}, b'{"message": "You have exceeded a secondary rate limit"}')])
    filled.fault = lambda asked: next(refusals, None) if "page=2" in asked.path else None
    with pytest.raises(RateLimited) as raised:
        reader.run()
    assert raised.value.retry_after_s == 1
    filled.forget()
    with pytest.raises(RateLimited):
        reader.run()
    assert filled.asked == [], "not asked before its time"
    time.sleep(1.05)
    assert len(reader.run()) == 255
    assert len(filled.api()) == 5


def test_an_exhausted_quota_lands_what_is_there_and_goes_on_later(source: Make, filled: Hub) -> None:
    reader = items(source, filled)
    filled.quota = 2
    assert len(reader.run()) == 200
    assert Listing(complete=True) not in reader.items
    assert "the rest follows" in str(reader.items)
    filled.forget()
    with pytest.raises(RateLimited) as raised:
        reader.run()
    assert 3000 < (raised.value.retry_after_s or 0) < 3700
    assert filled.asked == []
    filled.quota = 1000
    _let_time_pass(reader)
    assert len(reader.run()) == 55
    assert len(filled.api(200)) == 4, "no page twice"


def test_an_answer_without_a_time_is_given_a_minute(source: Make, filled: Hub) -> None:
    reader = items(source, filled)
    filled.fault = lambda asked: (429, {}, b"{}")
    with pytest.raises(RateLimited) as raised:
        reader.run()
    assert raised.value.retry_after_s == 60


def test_a_poll_interval_is_honoured(source: Make, filled: Hub) -> None:
    reader = items(source, filled, content=["releases"])

    def slowly(asked: Asked) -> Reply | None:
        return (200, {"X-Poll-Interval": "60"}, b"[]") if "/releases" in asked.path else None

    filled.fault = slowly
    reader.run()
    filled.forget()
    reader.run()
    assert filled.asked == []


def test_an_event_fetches_only_what_it_names(source: Make, filled: Hub) -> None:
    reader = items(source, filled)
    reader.run()
    filled.issue(SLUG, 9, "renamed")
    filled.comment(SLUG, 7, 80, "new")
    filled.projects[SLUG].issues.pop(10)
    filled.forget()
    keys = ["/issues/9", "/issues/7/comments/80", "/issues/10", "/releases/5"]
    assert sorted(reader.run(keys)) == ["/issues/7/comments/80", "/issues/9"]
    assert Gone("/issues/10") in reader.items
    assert len(filled.api()) == 4
    assert Listing(complete=True) not in reader.items
    assert "/issues/10" not in reader.documents


def test_an_older_answer_never_takes_the_place_of_a_newer_one(source: Make, filled: Hub) -> None:
    reader = items(source, filled, content=["issues"])
    reader.run()
    old = dict(filled.projects[SLUG].issues[9])
    filled.issue(SLUG, 9, "newer")
    reader.run(["/issues/9"])
    filled.projects[SLUG].issues[9] = old  # a replica that lags behind
    reader.run()
    assert reader.documents["/issues/9"].title == "newer"


def test_issues_that_are_switched_off_are_none(source: Make, filled: Hub) -> None:
    reader = items(source, filled)
    filled.fault = lambda asked: (
        (410, {}, b'{"message": "Issues are disabled"}') if "/issues?" in asked.path else None
    )
    assert sorted(reader.run())[-1] == "/releases/5"


def test_a_damaged_shelf_is_made_anew(source: Make, filled: Hub) -> None:
    reader = items(source, filled)
    reader.run()
    for path in (reader.folder / "cache").glob("shelf.db*"):
        path.write_bytes(b"garbage " * 1000)
    assert reader.run() == []
    assert len(reader.documents) == 255


def test_a_token_is_sent_and_never_shown(source: Make, filled: Hub) -> None:
    filled.password = "sesame-open"
    wrong = items(source, filled, token="github")
    wrong.secrets["github"] = "wrong-secret"
    with pytest.raises(Permanent, match="refused the token") as raised:
        wrong.run()
    assert "wrong-secret" not in str(raised.value)
    reader = items(source, filled, token="github")
    reader.secrets["github"] = "sesame-open"
    assert reader.check() is None
    assert len(reader.run()) == 255


def test_a_github_app_asks_for_a_token_with_a_signed_note(source: Make, filled: Hub) -> None:
    import jwt
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    notes: list[dict[str, object]] = []

    def app(asked: Asked) -> Reply | None:
        if not asked.path.startswith("/api/v3/app/") and not asked.path.endswith("/installation"):
            return None
        note = asked.headers["authorization"].removeprefix("Bearer ")
        notes.append(jwt.decode(note, key.public_key(), algorithms=["RS256"]))
        if asked.path.endswith("/installation"):
            return 200, {}, b'{"id": 42}'
        assert asked.path == "/api/v3/app/installations/42/access_tokens"
        ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
        return 201, {}, b'{"token": "ghs_of-an-hour", "expires_at": "%s"}' % ends.encode()

    filled.fault = app
    filled.password = "ghs_of-an-hour"
    reader = items(source, filled, app="1234", app_key="key", content=["files", *ITEMS])
    reader.secrets["key"] = pem
    assert len(reader.run()) == 256
    assert [note["iss"] for note in notes] == ["1234", "1234"], "one login for the whole run, git included"
    broken = items(source, filled, app="1234", app_key="key")
    broken.secrets["key"] = "no key"
    with pytest.raises(Permanent, match="private key"):
        broken.run()


def test_recorded_pages_of_github_are_walked_to_the_end(source: Make, hub: Hub) -> None:
    """`@octokit/fixtures`, paginate-issues: five recorded pages, reached by the recorded Link headers."""
    pages = {one["path"]: one for one in scenario("paginate-issues") if one["method"] == "get"}
    first = next(path for path in pages if path.endswith("issues?per_page=3"))

    def recorded(asked: Asked) -> Reply | None:
        path = asked.path.removeprefix("/api/v3")
        one = pages.get(path) or (pages[first] if "/issues?" in path and "since" not in path else None)
        return _replayed(one, hub) if one else (200, {}, b"[]")

    hub.fault = recorded
    reader = source(repository="octokit-fixture-org/paginate-issues", base_url=hub.url, content=["issues"])
    assert len(reader.run()) == 13
    assert len(hub.api(200)) == 5
    assert reader.documents["/issues/1"].title
    assert reader.documents["/issues/1"].created_at


def test_a_recorded_rename_of_a_repository_is_followed(source: Make, hub: Hub) -> None:
    """`@octokit/fixtures`, rename-repository: 301 to /repositories/ID."""
    answers = {one["path"]: one for one in scenario("rename-repository") if one["method"] == "get"}

    def recorded(asked: Asked) -> Reply | None:
        path = asked.path.removeprefix("/api/v3")
        return _replayed(answers[path], hub) if path in answers else (200, {}, b"[]")

    hub.fault = recorded
    reader = source(repository="octokit-fixture-org/rename-repository", base_url=hub.url, content=["issues"])
    assert reader.check() is None
    assert len(hub.asked) == 2


def test_a_recorded_release_lands(source: Make, hub: Hub) -> None:
    """`@octokit/fixtures`, release-assets."""
    [release] = [
        one["response"] for one in scenario("release-assets") if one["path"].endswith("/tags/v1.0.0")
    ]
    import json

    hub.fault = lambda asked: (200, {}, json.dumps([release]).encode())
    reader = source(repository="octokit-fixture-org/release-assets", base_url=hub.url, content=["releases"])
    assert len(reader.run()) == 1
    [document] = reader.documents.values()
    assert document.metadata["tag_name"] == "v1.0.0"


def test_unit_keys_of_several_repositories_begin_with_their_names(source: Make, filled: Hub) -> None:
    filled.repository("octo/two")
    filled.issue("octo/two", 1, "Other")
    reader = source(repository=[SLUG, "octo/two"], base_url=filled.url, content=["issues"])
    reader.run()
    assert {"octo/hello//issues/1", "octo/two//issues/1"} <= reader.documents.keys()
    assert reader.run(["octo/two//issues/1"]) == []
    assert [item.key for item in reader.items if isinstance(item, Unit)] == ["octo/two//issues/1"]


def _replayed(one: dict[str, object], hub: Hub) -> Reply:
    import json

    headers = {str(k): str(v) for k, v in dict(one.get("headers") or {}).items()}  # type: ignore[call-overload]
    kept = {
        k: v.replace("https://api.github.com", f"{hub.url}/api/v3")
        for k, v in headers.items()
        if k.lower() in ("link", "location", "etag", "content-type")
    }
    return int(str(one["status"])), kept, json.dumps(one["response"]).encode()


def _let_time_pass(reader: Source) -> None:
    import sqlite3

    with sqlite3.connect(reader.folder / "cache" / "shelf.db") as db:
        db.execute("UPDATE mark SET value = '0' WHERE name = 'blocked_until'")
    db.close()
