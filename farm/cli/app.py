"""What a command works with: the state folder, the settings, the ledger, and the way to change something."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farm.errors import FarmError, FarmNotRunning, FarmRunning, UnknownSource

if TYPE_CHECKING:
    import sqlite3

    from farm.settings import Settings

STARTING_S = 5.0
"""How long a farm may hold its folder before its socket answers."""


def default_home() -> Path:
    """$FARM_HOME, else $XDG_STATE_HOME/farm, else ~/.local/state/farm."""
    own = os.environ.get("FARM_HOME")
    return Path(own) if own else usual_home()


def usual_home() -> Path:
    """Where a command looks that is typed in another terminal, without any option or variable."""
    return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "farm"


@dataclass
class App:
    home: Path = field(default_factory=default_home)
    config: Path = field(default_factory=lambda: default_home() / "farm.toml")
    format: str = "table"

    @property
    def json(self) -> bool:
        return self.format == "json"

    def require_home(self) -> Path:
        """The state folder; raises FarmError when there is none."""
        if not self.home.is_dir():
            raise FarmError(
                f"there is no farm in {self.home}: make one with `{self.say('add FOLDER')}`"
                f" or `{self.say('init')}`"
            )
        return self.home

    def ledger(self) -> sqlite3.Connection:
        """The ledger, read-only."""
        from farm.ledger import views

        return views.connect(self.require_home())

    def settings(self) -> Settings:
        """The settings, checked; raises ConfigErrors. Slow to import: not for the fast path."""
        from farm.settings import load

        return load(self.config)

    def tables(self) -> dict[str, dict[str, Any]]:
        """The [sources.NAME] tables as they stand in the file, unchecked; empty where it cannot be read."""
        from farm.cli.in_force import sources_in

        try:
            return sources_in(self.config.read_text(encoding="utf-8")) or {}
        except (OSError, ValueError):
            return {}

    def require_source(self, name: str) -> str:
        """The name, when farm.toml or the ledger knows it; raises UnknownSource."""
        known = list(self.tables())
        if name in known:
            return name
        from farm.ledger import views

        known += [met for met in views.sources(self.ledger()) if met not in known]
        if name in known:
            return name
        import difflib

        raise UnknownSource(name, difflib.get_close_matches(name, known, n=3))

    def live(self) -> dict[str, Any] | None:
        """What the running farm says of itself; None when none runs."""
        from farm import control

        try:
            found: dict[str, Any] = control.call(self.home, "status_live", timeout_s=2.0)
        except FarmNotRunning:
            return None
        return found

    def act(self, op: str, **args: Any) -> Any:
        """Have a change made: by the running farm, or under its lock when none runs."""
        from farm import control

        self.require_home()
        deadline = time.monotonic() + STARTING_S
        while True:
            try:
                return control.call(self.home, op, **args)
            except FarmNotRunning:
                pass
            from farm.desk import offline

            try:
                with offline(self.home, self.config) as desk:
                    return desk.handle(op, args, control.user())
            except FarmRunning:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)  # it holds the lock and is about to open its socket

    def say(self, command: str) -> str:
        """The command as this person has to type it."""
        import shlex
        import shutil

        program = "farm" if shutil.which("farm") else sys.argv[0]
        if not program.endswith("farm"):
            program = "python -m farm.cli"
        where = "" if self.home == usual_home() else f" --home {shlex.quote(str(self.home))}"
        return f"{program}{where} {command}"


pass_app = click.make_pass_decorator(App)
