"""Secrets by name: where they are looked for, in which order, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from farm import secrets
from farm.secrets import Place, SecretMissing, SecretRefused


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    folder = tmp_path / "credentials"
    folder.mkdir()
    return folder


def test_the_order_is_credential_file_environment(tmp_path: Path, credentials: Path) -> None:
    environment = {"CREDENTIALS_DIRECTORY": str(credentials), "FARM_SECRET_MAIL": "from the environment"}
    found = secrets.find("mail", home=tmp_path, environment=environment)
    assert (found.place, found.value) == (Place.ENVIRONMENT, "from the environment")
    secrets.put("mail", "from the file", home=tmp_path)
    found = secrets.find("mail", home=tmp_path, environment=environment)
    assert (found.place, found.value) == (Place.FILE, "from the file")
    (credentials / "mail").write_text("from systemd\n")
    found = secrets.find("mail", home=tmp_path, environment=environment)
    assert (found.place, found.value) == (Place.CREDENTIAL, "from systemd")


def test_a_keyring_goes_before_the_file(tmp_path: Path) -> None:
    """Asked of the real package, with a backend of the test's own, in a process of its own."""
    pytest.importorskip("keyring")
    secrets.put("mail", "from the file", home=tmp_path)
    program = """
import sys, keyring
from pathlib import Path
from keyring.backend import KeyringBackend
class Ring(KeyringBackend):
    priority = 1
    def get_password(self, service, name): return {("farm", "mail"): "from the ring"}.get((service, name))
    def set_password(self, *a): raise NotImplementedError
    def delete_password(self, *a): raise NotImplementedError
keyring.set_keyring(Ring())
from farm import secrets
print(secrets.find("mail", home=Path(sys.argv[1])).place)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "keyring"


def test_a_kept_secret_is_its_owners_only_and_comes_back_as_it_was(tmp_path: Path) -> None:
    path = secrets.put("key.pem", "line one\nline two\n", home=tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert secrets.resolve("key.pem", home=tmp_path, environment={}) == "line one\nline two"
    secrets.put("key.pem", "another", home=tmp_path)
    assert secrets.resolve("key.pem", home=tmp_path, environment={}) == "another"
    assert [p.name for p in path.parent.iterdir()] == ["key.pem"]


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    secrets.put("mail", "hunter2x", home=tmp_path).chmod(0o640)
    with pytest.raises(SecretRefused, match="chmod 600"):
        secrets.resolve("mail", home=tmp_path, environment={"FARM_SECRET_MAIL": "the next best"})


@pytest.mark.parametrize("name", ["../ledger.db", "", "a/b", "with space", "x" * 65, ".hidden"])
def test_a_name_that_could_be_a_path_or_a_value_is_refused_and_not_repeated(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(SecretRefused) as raised:
        secrets.resolve(name, home=tmp_path)
    assert not name or name not in str(raised.value)


def test_one_that_is_not_there_says_how_to_keep_it(tmp_path: Path) -> None:
    with pytest.raises(SecretMissing, match="farm secrets set mail"):
        secrets.resolve("mail", home=tmp_path, environment={})


def test_a_secret_does_not_show_itself(tmp_path: Path) -> None:
    secrets.put("mail", "hunter2x", home=tmp_path)
    assert "hunter2x" not in repr(secrets.find("mail", home=tmp_path, environment={}))


def test_known_names_and_values(tmp_path: Path, credentials: Path) -> None:
    (credentials / "db").write_text("one")
    secrets.put("mail", "two", home=tmp_path)
    environment = {"CREDENTIALS_DIRECTORY": str(credentials), "FARM_SECRET_X": "three"}
    assert secrets.known(tmp_path, environment) == [
        ("db", Place.CREDENTIAL),
        ("mail", Place.FILE),
        ("x", Place.ENVIRONMENT),
    ]
    assert list(secrets.values(tmp_path, environment)) == ["one", "two", "three"]
