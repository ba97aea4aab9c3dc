"""Which connectors there are, and their default profiles.

A connector is named by its entry point of the group "farm.connectors", or as "package.module:Class".
Workers import this module, so it imports nothing heavy, and the farm's own connectors are found without
reading the metadata of every installed package.
"""

from __future__ import annotations

import difflib
import functools
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farm.errors import UnknownConnector

if TYPE_CHECKING:
    from farm.connector import Connector

GROUP = "farm.connectors"

BUILT_IN: Mapping[str, str] = {
    "command": "connectors.command:Command",
    "github": "connectors.github:GitHub",
    "imap": "connectors.imap:Imap",
    "obsidian": "connectors.obsidian:Obsidian",
    "local_files": "connectors.local_files:LocalFiles",
}
"""The same as in pyproject.toml, which a test compares; here so that a worker finds them in no time."""


def load(name: str) -> type[Connector[Any]]:
    """The class of the connector of this name.

    Raises UnknownConnector when there is none, ImportError when it is there and lacks a library.
    """
    return _class_of(name, BUILT_IN.get(name) or (name if ":" in name else _plugged_in().get(name)))


def names() -> list[str]:
    """All connectors that can be named without their module, sorted."""
    return sorted({*BUILT_IN, *_plugged_in()})


def profile_of(name: str) -> dict[str, dict[str, Any]]:
    """The default `profile`, `retry` and `limits` tables of a connector, as its TOML files have them."""
    default, own = _profile_file("default"), _profile_file(_stem(name))
    profile = {**default.get("profile", {}), **own.get("profile", {})}
    retry = layered_retry(default.get("retry", {}), own.get("retry", {}))
    limits = {**default.get("limits", {}), **own.get("limits", {})}
    return {"profile": profile, "retry": retry, "limits": limits}


def layered_retry(*tables: Mapping[str, Any]) -> dict[str, Any]:
    """Later tables win; one that names a class starts anew, as the fields before were meant for another.

    >>> layered_retry({"class": "fast", "base": "9s"}, {"max_attempts": 2})
    {'class': 'fast', 'base': '9s', 'max_attempts': 2}
    >>> layered_retry({"class": "fast", "base": "9s"}, {"class": "conservative"})
    {'class': 'conservative'}
    """
    merged: dict[str, Any] = {}
    for table in tables:
        merged = dict(table) if "class" in table else {**merged, **table}
    return merged


def _class_of(name: str, target: str | None) -> type[Connector[Any]]:
    if target is None:
        known = names()
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        why = "" if close else f"there is no connector {name!r}; there are {', '.join(known)}"
        raise UnknownConnector(name, close, why)
    module_name, _, class_name = target.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there, a library of its own is not
        raise UnknownConnector(name, why=f"there is no connector {name!r}: no module {error.name}") from None
    for part in class_name.split("."):
        found = getattr(found, part, None)
    from farm.connector import Connector

    if not (isinstance(found, type) and issubclass(found, Connector)):
        raise UnknownConnector(name, why=f"there is no connector {name!r}: {target} is not a Connector")
    return found


@functools.cache
def _plugged_in() -> dict[str, str]:
    """Entry points of other packages: reads the metadata of all that is installed, once per process."""
    from importlib.metadata import entry_points

    return {point.name: point.value for point in entry_points(group=GROUP)}


@functools.cache
def _profiles_folder() -> Path:
    package = Path(__file__).resolve().parent
    shipped = package / "profiles"  # in a wheel; a checkout has them beside the package
    return shipped if shipped.is_dir() else package.parent / "profiles"


@functools.cache
def _profile_file(stem: str) -> dict[str, dict[str, Any]]:
    import tomllib

    path = _profiles_folder() / f"{stem}.toml"
    return tomllib.loads(path.read_text()) if stem and path.is_file() else {}


def _stem(name: str) -> str:
    """The profile's file name: a connector given as module:Class may share the one of its entry point.

    >>> _stem("connectors.command:Command"), _stem("imap"), _stem("tests.odd:Odd")
    ('command', 'imap', '')
    """
    if ":" not in name:
        return name if name.replace("_", "").replace("-", "").isalnum() else ""
    return next((own for own, target in BUILT_IN.items() if target == name), "")
