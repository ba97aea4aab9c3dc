"""A farm.toml that was broken or changed beside a running farm: what counts is told, and shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.farms import Farm, local_files

GOES_ON = "the farm goes on with the settings that it read last"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    base = tmp_path_factory.mktemp("farm")
    (base / "notes").mkdir()
    with Farm(base / "home", {"notes": local_files(base / "notes", every="2h")}) as farm:
        farm.look()
        yield farm


@pytest.fixture
def farm(running: Farm) -> Iterator[Farm]:
    before = running.config.read_text()
    yield running
    running.config.write_text(before)


BROKEN = {
    "syntax": ('every = "2h"', "every = "),
    "value": ('every = "2h"', 'every = "soon"'),
    "table": ("[sources.notes]", "[sorces.notes]"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_told_and_what_is_in_force_is_shown(farm: Farm, kind: str) -> None:
    farm.config.write_text(farm.config.read_text().replace(*BROKEN[kind]))
    job = farm.ledger("SELECT max(id) FROM job")[0][0]
    for looked in (farm.cli("sources", "list"), farm.cli("jobs", "explain", str(job))):
        assert looked.returncode == 0
        assert looked.stderr.startswith("farm: farm.toml is broken: "), looked.stderr
        assert GOES_ON in looked.stderr
        assert len(looked.stderr.splitlines()) == 1
    assert "every 2h" in farm.cli("sources", "list").stdout
    assert GOES_ON in farm.cli("status").stdout
    status = farm.json("status")
    assert GOES_ON in status["farm"]["config_error"]
    assert [(row["name"], row["state"], row["every"]) for row in status["sources"]] == [
        ("notes", "active", "2h")
    ]


def test_a_change_that_the_farm_has_not_read_is_not_shown_as_if_it_counted(farm: Farm) -> None:
    farm.config.write_text(farm.config.read_text().replace('"2h"', '"5h"'))
    looked = farm.cli("sources", "list")
    assert "every 2h" in looked.stdout
    assert "was changed" in looked.stderr
    assert farm.json("status")["farm"]["config_error"] == ""
    assert "was changed" in farm.cli("status").stdout
    assert farm.cli("reload").returncode == 0
    looked = farm.cli("sources", "list")
    assert ("every 5h" in looked.stdout, looked.stderr) == (True, "")
    farm.config.write_text(farm.config.read_text().replace('"5h"', '"2h"'))
    farm.cli("reload")


def test_of_a_farm_that_is_down_the_file_counts(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    with Farm(tmp_path / "home", {"notes": local_files(tmp_path / "notes", every="2h")}) as farm:
        assert farm.drain() == 0
        good = farm.config.read_text()
        farm.config.write_text(good.replace('"2h"', '"5h"'))
        looked = farm.cli("sources", "list")
        assert ("every 5h" in looked.stdout, looked.stderr) == (True, "")
        farm.config.write_text(good.replace('"2h"', '"soon"'))
        looked = farm.cli("sources", "list")
        assert looked.stderr.startswith("farm: farm.toml is broken: ")
        assert GOES_ON not in looked.stderr
