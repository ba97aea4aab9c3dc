"""What deliveries are about, by every example that GitHub publishes."""

from __future__ import annotations

from collections import Counter

import pytest

from connectors.git.address import repository
from connectors.github import EVERYTHING
from connectors.github_api.events import keys_of
from connectors.github_api.items import kinds_of
from tests.connectors_github.recorded import examples

HEARD = {"push", "issues", "issue_comment", "pull_request", "pull_request_review_comment", "release"}


def test_every_published_example_is_understood_or_says_nothing() -> None:
    """`@octokit/webhooks-examples`: no example raises, those of our events name keys, the others none."""
    seen: Counter[str] = Counter()
    for event, payload in examples():
        about = payload.get("repository") or {}
        slug = about.get("full_name", "nobody/nothing")
        ours = [repository(slug), repository("other/thing")]
        keys = keys_of(ours, EVERYTHING, "", event, payload)
        if not about:
            assert keys is None
            continue
        assert keys is not None
        if event not in HEARD:
            assert keys == [], event
        elif event != "push":
            [key] = keys
            assert key.startswith(f"{slug}//")
            assert kinds_of(key.removeprefix(f"{slug}/"))
            seen[event] += 1
        assert keys_of([repository("other/thing")], EVERYTHING, "", event, payload) is None
    assert seen.keys() == HEARD - {"push"}
    assert min(seen.values()) >= 5


def test_only_a_push_to_the_branch_that_is_read_is_ours() -> None:
    pushes = [payload for event, payload in examples() if event == "push"]
    refs = {(p["ref"], tuple(_keys(p))) for p in pushes}
    assert ("refs/tags/simple-tag", ()) in refs
    assert all(keys == () or keys == (f"/{ref}",) for ref, keys in refs)
    push = {"ref": "refs/heads/next", "repository": {"full_name": "Octo/Hello", "default_branch": "main"}}
    ours = [repository("octo/hello")]
    assert keys_of(ours, EVERYTHING, "", "push", push) == []
    assert keys_of(ours, EVERYTHING, "next", "push", push) == ["/refs/heads/next"]
    assert keys_of(ours, ["issues"], "next", "push", push) == []


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"repository": None},
        {"repository": []},
        {"repository": {"full_name": 7}},
        {"repository": {"full_name": "octo/hello"}, "issue": {"number": "1"}},
        {"repository": {"full_name": "octo/hello"}, "issue": {"number": True, "pull_request": 9}},
        {"repository": {"full_name": "octo/hello"}, "issue": [], "comment": {"id": None}},
    ],
)
@pytest.mark.parametrize("event", sorted(HEARD))
def test_a_payload_of_any_form_raises_nothing(event: str, payload: dict[str, object]) -> None:
    keys_of([repository("octo/hello")], EVERYTHING, "", event, payload)


def _keys(payload: dict[str, object]) -> list[str]:
    slug = str(payload["repository"]["full_name"])  # type: ignore[index]
    return keys_of([repository(slug)], EVERYTHING, "", "push", payload) or []
