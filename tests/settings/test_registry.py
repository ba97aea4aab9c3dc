"""Which connectors there are, and how they are found."""

from __future__ import annotations

import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from connectors.command import Command
from farm import registry
from farm.errors import UnknownConnector

ROOT = Path(__file__).parents[2]


def test_the_farms_own_connectors_are_those_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"][registry.GROUP] == dict(registry.BUILT_IN)


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_each_connector_goes_by_its_registered_name(name: str) -> None:
    assert registry.load(name).name == name
    assert (ROOT / "profiles" / f"{name}.toml").is_file()


def test_a_connector_may_be_named_by_module_and_class() -> None:
    assert registry.load("connectors.command:Command") is Command
    assert registry.profile_of("connectors.command:Command") == registry.profile_of("command")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("local_file", "there is no connector 'local_file'; did you mean local_files?"),
        ("zzz", "there is no connector 'zzz'; there are "),
        ("nowhere.at.all:Thing", "there is no connector 'nowhere.at.all:Thing': no module nowhere"),
        ("connectors.command:Comand", "connectors.command:Comand is not a Connector"),
        ("connectors.command:_Call", "is not a Connector"),
        ("", "there is no connector ''"),
    ],
)
def test_an_unknown_connector_is_told_with_what_comes_close(name: str, expected: str) -> None:
    with pytest.raises(UnknownConnector) as raised:
        registry.load(name)
    assert expected in str(raised.value)


def test_a_connector_of_another_package_is_found_by_its_entry_point(tmp_path: Path) -> None:
    """A real distribution on the path, found by a fresh interpreter."""
    info = tmp_path / "weather-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: weather\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[farm.connectors]\nweather = weather:Weather\n")
    (tmp_path / "weather.py").write_text(
        "from farm.connector import Connector\nclass Weather(Connector): name = 'weather'\n"
    )
    code = "from farm import registry; print(registry.load('weather').name, 'weather' in registry.names())"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": f"{ROOT}:{tmp_path}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == ["weather", "True"]


def test_profiles_hold_only_known_keys() -> None:
    from farm.tables import ProfileTable, RetryTable

    for file in (ROOT / "profiles").glob("*.toml"):
        tables = registry.profile_of(file.stem)
        ProfileTable.model_validate(tables["profile"])
        RetryTable.model_validate(tables["retry"])


def test_finding_a_built_in_connector_reads_no_metadata_and_imports_little() -> None:
    code = (
        "import sys; from farm import registry\n"
        "light = set(sys.modules)\n"
        "registry.load('command')\n"
        "print('pydantic' in light, 'importlib.metadata' in light, registry._plugged_in.cache_info().currsize)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False", "0"]


def test_a_connector_is_found_again_in_no_time() -> None:
    registry.load("command")
    began = time.perf_counter()
    for _ in range(1000):
        registry.load("command")
    assert time.perf_counter() - began < 0.2
