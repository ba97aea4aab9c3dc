"""What a webhook delivery of GitHub is about, as keys of a source: pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from connectors.git.address import Repository
from connectors.github_api.items import kinds_of

_SUBJECTS = {
    "issues": "issue",
    "issue_comment": "comment",
    "pull_request": "pull_request",
    "pull_request_review_comment": "comment",
    "release": "release",
}


def keys_of(
    repositories: Sequence[Repository],
    content: Collection[str],
    branch: str,
    event: str,
    payload: Mapping[str, Any],
) -> list[str] | None:
    """The keys to fetch. Empty: it says nothing that lands. None: none of these repositories is meant."""
    about = payload.get("repository")
    if not isinstance(about, dict):
        return None
    slug = str(about.get("full_name", ""))
    one = next((one for one in repositories if one.slug and one.slug.lower() == slug.lower()), None)
    if one is None:
        return None
    prefix = f"{one.label}/" if len(repositories) > 1 else ""
    if event == "push":
        ref = str(payload.get("ref", ""))
        meant = f"refs/heads/{branch or about.get('default_branch')}"
        return [f"{prefix}/{ref}"] if "files" in content and ref == meant else []
    path = _path(event, payload)
    return [prefix + path] if path and kinds_of(path) <= set(content) else []


def _path(event: str, payload: Mapping[str, Any]) -> str:
    subject = payload.get(_SUBJECTS.get(event, ""))
    if not isinstance(subject, dict):
        return ""
    number, id_ = subject.get("number"), subject.get("id")
    match event:
        case "issues" if isinstance(number, int):
            return f"/{'pulls' if subject.get('pull_request') else 'issues'}/{number}"
        case "pull_request" if isinstance(number, int):
            return f"/pulls/{number}"
        case "issue_comment" if isinstance(id_, int):
            issue = payload.get("issue")
            if isinstance(issue, dict) and isinstance(issue.get("number"), int):
                return (
                    f"/{'pulls' if issue.get('pull_request') else 'issues'}/{issue['number']}/comments/{id_}"
                )
        case "pull_request_review_comment" if isinstance(id_, int):
            pull = payload.get("pull_request")
            if isinstance(pull, dict) and isinstance(pull.get("number"), int):
                return f"/pulls/{pull['number']}/reviews/{id_}"
        case "release" if isinstance(id_, int):
            return f"/releases/{id_}"
    return ""
