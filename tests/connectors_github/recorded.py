"""Recorded answers and deliveries of GitHub, from the npm registry: fetched once, kept outside the repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

PACKAGES = {"@octokit/fixtures": "23.1.2", "@octokit/webhooks-examples": "7.6.1"}
FOLDER = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "connector-farm-tests", "octokit")


@cache
def package(name: str) -> Path:
    """The package's folder. Without npm or a registry the test is skipped; in CI that is a failure."""
    folder = FOLDER / f"{name.replace('/', '-')}-{PACKAGES[name]}"
    found = folder / "node_modules" / name
    if not (found / "package.json").exists():
        why = _fetch(name, folder)
        if why:
            if os.environ.get("CI") == "true":
                pytest.fail(f"{name} could not be fetched: {why}")
            pytest.skip(f"{name} could not be fetched: {why}")
    return found


def _fetch(name: str, folder: Path) -> str:
    if shutil.which("npm") is None:
        return "npm is not installed"
    draft = folder.with_name(f"{folder.name}.{os.getpid()}")
    draft.mkdir(parents=True)
    (draft / "package.json").write_text("{}")
    try:
        done = subprocess.run(
            ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", f"{name}@{PACKAGES[name]}"],
            cwd=draft,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        if done.returncode:
            return done.stderr.strip()[-300:]
        if not folder.exists():
            draft.rename(folder)
    except subprocess.TimeoutExpired:
        return "npm took longer than 100 s"
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return ""


def scenario(name: str) -> list[dict[str, Any]]:
    """Requests and their recorded answers, in the order they were made."""
    folder = package("@octokit/fixtures") / "scenarios" / "api.github.com" / name
    found: list[dict[str, Any]] = json.loads((folder / "normalized-fixture.json").read_text())
    return found


def examples() -> list[tuple[str, dict[str, Any]]]:
    """Every example of every event: its name, its payload."""
    folder = package("@octokit/webhooks-examples") / "api.github.com"
    return [
        (event["name"], payload)
        for event in json.loads((folder / "index.json").read_text())
        for payload in event["examples"]
    ]
