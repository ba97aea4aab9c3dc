"""Steps of the wall clock that only one farm sees: what settimeofday does, without doing it to the machine.

A preloaded library adds seconds to CLOCK_REALTIME, built here of fifty lines of C. Without a compiler
Python's `time.time` is replaced instead, which datetime.now does not go through. (libfaketime 0.9.10 will not do:
under it time.sleep, an absolute sleep on CLOCK_MONOTONIC, fails with EINVAL as soon as the clock is stepped.)
"""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
import time
from pathlib import Path

STEPS = Path(__file__).with_name("steps")


class WallClock:
    """One farm's. `environment` makes a process live by it; `step_s` sets it off by so much from then on."""

    def __init__(self, folder: Path) -> None:
        path = folder / "clock"
        path.write_bytes(struct.pack("=d", 0.0))
        with path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), 8)
        self.environment = {"FARM_TEST_CLOCK": str(path)}
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler:
            library = folder / "wallclock.so"
            command = [
                compiler,
                "-O1",
                "-shared",
                "-fPIC",
                "-o",
                str(library),
                str(STEPS / "wallclock.c"),
                "-ldl",
            ]
            subprocess.run(command, check=True, capture_output=True)
            self.environment["LD_PRELOAD"] = str(library)
            self.how = "CLOCK_REALTIME by a preloaded library"
        else:
            self.environment["PYTHONPATH"] = str(STEPS)
            self.how = "Python's time.time (there is no C compiler)"

    @property
    def step_s(self) -> float:
        return float(struct.unpack_from("=d", self._page)[0])

    @step_s.setter
    def step_s(self, seconds: float) -> None:
        struct.pack_into("=d", self._page, 0, seconds)

    def now(self) -> float:
        """Unix time as the farm sees it."""
        return time.time() + self.step_s

    def set(self, moment: float) -> None:
        """Step it to this Unix time."""
        self.step_s = moment - time.time()
