"""`farm add` knows a folder, a vault, a mailbox and a repository when it sees one."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from farm.cli.recognise import recognise
from farm.errors import FarmError
from farm.settings import load
from tests.cli.world import Farm


@pytest.mark.parametrize(
    ("word", "connector", "options"),
    [
        ("imaps://ada@mail.example.org/", "imap", {"host": "mail.example.org", "user": "ada"}),
        (
            "imaps://ada%40example.org@mail.example.org:9933/Work",
            "imap",
            {"host": "mail.example.org", "user": "ada@example.org", "port": 9933, "folders": ["Work"]},
        ),
        (
            "imaps://ada@example.org@mail.example.org",
            "imap",
            {"host": "mail.example.org", "user": "ada@example.org"},
        ),
        ("imap://ada@h", "imap", {"host": "h", "user": "ada", "security": "starttls"}),
        ("https://github.com/python/cpython", "github", {"repository": "python/cpython"}),
        ("https://github.com/python/cpython.git", "github", {"repository": "python/cpython"}),
        ("https://github.com/python/cpython/tree/main/Doc", "github", {"repository": "python/cpython"}),
        ("https://codeberg.org/a/b", "github", {"repository": "https://codeberg.org/a/b"}),
        ("https://git.example.org/x/y.git", "github", {"repository": "https://git.example.org/x/y.git"}),
        ("ssh://git@example.org/x/y", "github", {"repository": "ssh://git@example.org/x/y"}),
        ("git@github.com:python/cpython.git", "github", {"repository": "git@github.com:python/cpython.git"}),
    ],
)
def test_an_address_is_recognised(word: str, connector: str, options: dict[str, Any]) -> None:
    found = recognise(word)
    assert (found.connector, found.options) == (connector, options)


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("imaps://ada:hunter2@example.org/", "password"),
        ("https://x:hunter2@github.com/a/b", "password"),
        ("imaps://example.org/", "imaps://USER@HOST/"),
        ("https://example.org/page", "nothing that can be added"),
        ("https://github.com/python", "OWNER/NAME"),
        ("gopher://a/b", "nothing that can be added"),
    ],
)
def test_what_is_none_is_told_and_no_password_repeated(word: str, why: str) -> None:
    with pytest.raises(FarmError, match=why) as raised:
        recognise(word)
    assert "hunter2" not in str(raised.value)


def test_a_folder_is_what_it_looks_like(tmp_path: Path) -> None:
    for name, mark in (("plain", ""), ("vault", ".obsidian"), ("both", ".obsidian")):
        (tmp_path / name / mark).mkdir(parents=True)
    subprocess.run(["git", "init", "-q", str(tmp_path / "work")], check=True)
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "bare.git")], check=True)
    subprocess.run(["git", "init", "-q", str(tmp_path / "both")], check=True)
    kinds = {path.name: recognise(str(path)).connector for path in tmp_path.iterdir()}
    assert kinds == {
        "plain": "local_files",
        "vault": "obsidian",
        "both": "obsidian",
        "work": "github",
        "bare.git": "github",
    }
    assert recognise(str(tmp_path / "work"), "local_files").connector == "local_files"
    assert recognise(f"file://{tmp_path}/bare.git").options == {"repository": f"{tmp_path}/bare.git"}


def test_what_is_added_is_a_valid_source_and_only_once(farm: Farm, tmp_path: Path) -> None:
    (tmp_path / "notes" / ".obsidian").mkdir(parents=True)
    words = [str(tmp_path / "notes"), "imaps://ada@mail.example.org/", "https://github.com/python/cpython"]
    ran = farm("add", *words)
    assert ran.code == 0
    assert "secrets set ada" in ran.err
    assert farm("add", *words).out.count("there already") == 3
    sources = load(farm.home / "farm.toml").sources
    assert {name: source.connector for name, source in sources.items()} == {
        "notes": "obsidian",
        "ada": "imap",
        "cpython": "github",
    }
    assert sources["notes"].watch
    assert '"password":"ada"' in sources["ada"].options_json


def test_a_pattern_that_the_connector_has_not_is_refused(farm: Farm) -> None:
    assert farm("add", "imaps://a@b/", "--include", "*.md").code == 2
    assert not (farm.home / "farm.toml").exists()


def test_add_says_what_it_took_a_thing_for_and_what_follows(farm: Farm, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "vault" / ".obsidian").mkdir(parents=True)
    subprocess.run(["git", "init", "-q", str(tmp_path / "work")], check=True)
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "bare.git")], check=True)
    words = [*(str(tmp_path / name) for name in ("plain", "vault", "work", "bare.git")), "imaps://ada@h/"]
    plain, vault, work, bare, mail = farm("add", *words).out.splitlines()
    assert plain == f"added plain ({tmp_path}/plain) as a folder: each file is read as it is saved"
    assert "as an Obsidian vault: " in vault
    assert "as a git repository: what is committed is read, every 15 min; `--connector local_files`" in work
    assert bare.endswith("as a git repository: what is committed is read, every 15 min")
    assert mail.endswith("as a mailbox: messages are read as they come")
    ran = farm("add", "imaps://bob@h/", "--no-watch")
    assert ran.out.endswith("as a mailbox: messages are read every 15 min\n")
    ran = farm("add", str(tmp_path / "work"), "--connector", "local_files", "--no-watch", "--every", "1h")
    assert ran.out.endswith("as a folder: each file is read every 60 min\n")


def test_watch_is_refused_where_nothing_can_be_watched(farm: Farm, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path / "work")], check=True)
    ran = farm("add", str(tmp_path / "work"), "--watch")
    assert ran.code == 2
    assert "--watch does not go with github: it has nothing to watch" in ran.err
    assert not (farm.home / "farm.toml").exists()
    assert farm("add", "imaps://ada@h/").code == 0
    assert load(farm.home / "farm.toml").sources["ada"].watch


def test_the_state_folder_is_no_source(farm: Farm, tmp_path: Path) -> None:
    farm("init")
    (tmp_path / "link").symlink_to(farm.home)
    before = (farm.home / "farm.toml").read_text()
    for place in (farm.home, farm.home / "logs", tmp_path / "link"):
        ran = farm("add", str(place))
        assert ran.code == 1
        assert "belongs to this farm's state folder" in ran.err
    assert (farm.home / "farm.toml").read_text() == before
