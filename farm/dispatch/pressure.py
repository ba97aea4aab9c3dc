"""A full disk: the reserve is given up, what runs may end, nothing new is taken or started until there is room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from farm.errors import NotPossible
from farm.lander import Lander
from farm.reserve import Reserve
from farm.telemetry import Name, log

LOOK_S = 0.5
"""How often the disk is looked at: as often as this while it is full."""
PRESSED = "the disk is full: running jobs finish, nothing new is taken or started until there is room"


class Pressure:
    """Without a reserve it never presses."""

    def __init__(
        self, home: Path, reserve: Reserve | None, lander: Lander, monotonic: Callable[[], float]
    ) -> None:
        self.on = False
        self._home = home
        self._reserve = reserve
        self._lander = lander
        self._monotonic = monotonic
        self._looked = -LOOK_S

    @property
    def tries(self) -> int:
        """How often a commit is tried that finds no room: a second time with the reserve's."""
        return 2 if self._reserve is not None and self._reserve.held else 1

    @property
    def bears(self) -> bool:
        """Whether a full disk is outlived."""
        return self._reserve is not None

    def refuse(self) -> None:
        """Raises NotPossible while the disk is full."""
        if self.on:
            raise NotPossible(f"{PRESSED}: make room in {self._home}")

    def look(self) -> bool:
        """Look at the disk, when that is due; whether it was looked at."""
        now = self._monotonic()
        if self._reserve is None or now - self._looked < LOOK_S:
            return False
        self._looked = now
        if not self.on:
            if self._lander.full or self._reserve.short():
                self.press()
        elif not self._lander.full and self._reserve.ample() and self._reserve.fill():
            self.on = False
            log(Name.FARM_RELIEVED, disk=self._home)
        return True

    def press(self) -> None:
        """Give up the reserve, finish what runs, and take nothing new until there is room."""
        assert self._reserve is not None
        self._reserve.release()
        if not self.on:
            self.on = True
            log(Name.FARM_PRESSED, disk=self._home, why=PRESSED)
        self._lander.try_again()
