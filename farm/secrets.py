"""Secrets by name: options carry the name, and only the worker that needs the value ever reads it.

Looked for in this order, the first that has it wins:

1. a systemd credential: the file $CREDENTIALS_DIRECTORY/NAME (LoadCredential= in a unit)
2. the user's keyring, service "farm", where the package keyring is installed
3. the file secrets/NAME in the state folder, which nobody but its owner may read (mode 0600)
4. the environment, FARM_SECRET_NAME: for trying things out, as every program of the user can see it

A line end at the end of a file is not part of the secret.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from farm.errors import FarmError

PREFIX = "FARM_SECRET_"
CREDENTIALS = "CREDENTIALS_DIRECTORY"
FOLDER = "secrets"
SERVICE = "farm"
"""Of the entries in the keyring."""
MOST_BYTES = 64 * 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Place(StrEnum):
    """Where a secret is kept."""

    CREDENTIAL = "credential"
    KEYRING = "keyring"
    FILE = "file"
    ENVIRONMENT = "environment"


class SecretMissing(FarmError):
    """No secret has this name."""


class SecretRefused(FarmError):
    """There is one, and it must not be used as it is kept."""


@dataclass(frozen=True, slots=True)
class Secret:
    """Its value stays out of `repr`, and so out of tracebacks that show locals."""

    name: str
    place: Place
    value: str = field(repr=False)


def resolve(name: str, *, home: Path | None, environment: Mapping[str, str] | None = None) -> str:
    """The value of the secret of this name; raises SecretMissing or SecretRefused, in one sentence."""
    return find(name, home=home, environment=environment).value


def find(name: str, *, home: Path | None, environment: Mapping[str, str] | None = None) -> Secret:
    """The secret and where it was found; `environment` stands for the process's own."""
    checked(name)
    environment = os.environ if environment is None else environment
    if (value := _in_credentials(name, environment)) is not None:
        return Secret(name, Place.CREDENTIAL, value)
    if (value := _in_keyring(name)) is not None:
        return Secret(name, Place.KEYRING, value)
    if home is not None and (value := _in_file(path_of(name, home))) is not None:
        return Secret(name, Place.FILE, value)
    if (value := environment.get(variable(name))) is not None:
        return Secret(name, Place.ENVIRONMENT, value)
    # No colon before the name: what stands after "secret:" would be taken for one, and masked.
    raise SecretMissing(f"there is no secret {name!r}; set it with `farm secrets set {name}`")


def put(name: str, value: str, *, home: Path) -> Path:
    """Keep it in the state folder, readable by its owner only; returns the file."""
    path = path_of(checked(name), home)
    if not value:
        raise SecretRefused(f"the secret {name!r} would be empty")
    if len(value.encode()) > MOST_BYTES:
        raise SecretRefused(f"the secret {name!r} is longer than {MOST_BYTES:,} bytes")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    draft = path.with_name(f".{name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, 0o600)
        file.write(value)
        file.flush()
        os.fsync(descriptor)
    draft.replace(path)  # never half a secret
    return path


def drop(name: str, *, home: Path) -> None:
    """Remove its file; raises SecretMissing."""
    try:
        path_of(checked(name), home).unlink()
    except FileNotFoundError:
        raise SecretMissing(f"there is no secret {name!r} in {home / FOLDER}") from None


def known(home: Path | None, environment: Mapping[str, str] | None = None) -> list[tuple[str, Place]]:
    """Names and where they are kept, in the order of the search. A keyring does not tell its names."""
    environment = os.environ if environment is None else environment
    found = [(path.name, Place.CREDENTIAL) for path in _files(environment.get(CREDENTIALS))]
    found += [(path.name, Place.FILE) for path in _files(home / FOLDER if home else None)]
    found += [
        (key.removeprefix(PREFIX).lower(), Place.ENVIRONMENT) for key in environment if key.startswith(PREFIX)
    ]
    return found


def values(home: Path | None, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """Every value that can be had without asking the keyring: what must not stand in a log."""
    environment = os.environ if environment is None else environment
    for path in (*_files(environment.get(CREDENTIALS)), *_files(home / FOLDER if home else None)):
        with contextlib.suppress(OSError, SecretRefused):
            yield _read(path)
    yield from (value for key, value in environment.items() if key.startswith(PREFIX))


def path_of(name: str, home: Path) -> Path:
    return home / FOLDER / name


def variable(name: str) -> str:
    """
    >>> variable("mail.work")
    'FARM_SECRET_MAIL_WORK'
    """
    return PREFIX + re.sub(r"\W", "_", name).upper()


def checked(name: str) -> str:
    """The name; raises SecretRefused where it cannot be one. A value given by mistake is not repeated."""
    if not _NAME.fullmatch(name):
        raise SecretRefused("a secret's name has letters, digits, _ - and . only, at most 64")
    return name


def _in_credentials(name: str, environment: Mapping[str, str]) -> str | None:
    folder = environment.get(CREDENTIALS)
    try:
        return _read(Path(folder, name)) if folder else None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SecretRefused(f"the credential {name!r} cannot be read: {error.strerror}") from None


def _in_keyring(name: str) -> str | None:
    try:
        import keyring
    except ImportError:
        return None
    try:
        value: str | None = keyring.get_password(SERVICE, name)
    except Exception:  # noqa: BLE001 - without a desktop every backend fails in its own way: then there is none
        return None
    return value


def _in_file(path: Path) -> str | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SecretRefused(f"the secret in {path} cannot be read: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as file:
        status: Any = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SecretRefused(f"{path} is not a file")
        if status.st_mode & 0o077 or status.st_uid not in (os.geteuid(), 0):
            raise SecretRefused(f"{path} can be read by others: `chmod 600 {path}` first")
        return _text(file.read(MOST_BYTES), path)


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return _text(file.read(MOST_BYTES), path)


def _text(raw: bytes, path: Path) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise SecretRefused(f"{path} is not UTF-8 text") from None
    return text.removesuffix("\n").removesuffix("\r")


def _files(folder: str | Path | None) -> list[Path]:
    if not folder:
        return []
    try:
        return sorted(
            path for path in Path(folder).iterdir() if _NAME.fullmatch(path.name) and path.is_file()
        )
    except OSError:
        return []
