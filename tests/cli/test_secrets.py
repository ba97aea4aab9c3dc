"""`farm secrets`: set, list, test, remove, and a value that never shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from farm import registry
from farm.cli import farm
from farm.connector import Connector, Options, SecretName

VALUE = "hunter2-and-more"


class Locked(Connector["LockedOptions"]):
    name = "locked"


class LockedOptions(Options):
    password: SecretName
    second: SecretName | None = None


Locked.Options = LockedOptions


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("FARM_SECRET_MAIL", raising=False)
    home = tmp_path / "home"
    home.mkdir()
    (home / "farm.toml").write_text(
        f'[sources.box]\nconnector = "{__name__}:Locked"\n[sources.box.options]\npassword = "mail"\n'
    )
    return home


def call(home: Path, *words: str, given: str | None = None) -> Result:
    result = CliRunner().invoke(farm, ["--home", str(home), "secrets", *words], input=given)
    assert VALUE not in result.output
    return result


def test_a_secret_is_set_from_standard_input_and_found(home: Path) -> None:
    assert registry.load(f"{__name__}:Locked").Options is LockedOptions
    assert call(home, "test").exit_code == 1
    assert call(home, "set", "mail", given=f"{VALUE}\n").exit_code == 0
    assert (home / "secrets" / "mail").read_text() == VALUE
    assert call(home, "test", "mail").exit_code == 0
    rows = json.loads(call(home, "list", "--format", "json").output)
    assert rows == [{"name": "mail", "from": "file", "used_by": ["box"], "message": ""}]
    assert call(home, "remove", "mail").exit_code == 0
    assert call(home, "test", "mail").exit_code == 1


EVERY_USER = """
[farm.webhooks]
secrets = ["new", "hook"]
[sources.box]
connector = "imap"
[sources.box.options]
host = "imap.example.org"
user = "ann"
refresh_token = "refresh"
client_id = "it"
client_secret = "client"
token_url = "https://login.example.org/token"
[sources.code]
connector = "github"
[sources.code.options]
repository = "octo/hello"
token = "shared"
[sources.app]
connector = "github"
[sources.app.options]
repository = "octo/hello"
token = ""
app = "12"
app_key = "pem"
[sources.script]
connector = "command"
[sources.script.options]
argv = ["true"]
env = { A = "secret:shared", B = "plain" }
config = { deep = [{ key = "secret:tap" }, "secret:shared"], n = 3 }
"""


def test_everybody_who_names_a_secret_is_told(home: Path) -> None:
    (home / "farm.toml").write_text(EVERY_USER)
    rows = json.loads(call(home, "list", "--format", "json").output)
    assert {row["name"]: row["used_by"] for row in rows} == {
        "refresh": ["box"],
        "client": ["box"],
        "shared": ["code", "script"],
        "pem": ["app"],
        "tap": ["script"],
        "new": ["[farm.webhooks]"],
        "hook": ["[farm.webhooks]"],
    }
    assert "[farm.webhooks]" in call(home, "list").output


def test_a_value_in_the_environment_is_warned_of(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_SECRET_MAIL", VALUE)
    [row] = json.loads(call(home, "test", "mail", "--format", "json").output)
    assert row["from"] == "environment"
    assert "other programs" in row["message"]


def test_a_file_that_others_can_read_is_told(home: Path) -> None:
    call(home, "set", "mail", given=VALUE)
    (home / "secrets" / "mail").chmod(0o644)
    result = call(home, "test", "mail")
    assert result.exit_code == 1
    assert "chmod 600" in " ".join(result.output.split())


@pytest.mark.parametrize("words", [("set", "../x"), ("set", "mail")])
def test_nothing_is_kept_of_what_cannot_be(home: Path, words: tuple[str, ...]) -> None:
    assert call(home, *words, given="").exit_code != 0
    assert not (home / "secrets").exists() or not list((home / "secrets").iterdir())
