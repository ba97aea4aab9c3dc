from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.world import Farm, Jobs, fill, write_config


@pytest.fixture(autouse=True)
def of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test meets the farm of whoever runs it."""
    monkeypatch.delenv("FARM_HOME", raising=False)
    monkeypatch.delenv("FARM_DEBUG", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def farm(home: Path, capsys: pytest.CaptureFixture[str]) -> Farm:
    return Farm(home, capsys)


@pytest.fixture
def jobs(home: Path, tmp_path: Path) -> Jobs:
    write_config(home, tmp_path / "notes")
    return fill(home)
