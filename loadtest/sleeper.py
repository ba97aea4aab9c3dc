"""The sleeper: how late a process wakes on this machine that does nothing but sleep, while the farm works.

What others do to the machine delays everybody. A delay of the farm's jobs that the sleeper shares is not the
farm's. Run as `python -m loadtest.sleeper`, it tells its delays when its standard input is closed.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

EVERY_S = 0.02
MOST = 5_000
"""So many delays are kept, of a longer run a sample."""
NICE = {"machine.late_ms": 0, "machine.late_nice_ms": 5}
"""As everybody else, and as the farm's workers by default."""

Figures = dict[str, list[float]]


@contextmanager
def sleepers() -> Iterator[Figures]:
    """Sleep along while inside; the delays in ms are there afterwards, by figure."""
    found: Figures = {}
    with ExitStack() as stack:
        running = {name: stack.enter_context(_started(nice)) for name, nice in NICE.items()}
        yield found
        for name, process in running.items():
            told, _ = process.communicate(timeout=30)
            found[name] = json.loads(told)


def _started(nice: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "loadtest.sleeper", str(nice)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[1],
    )


def keep(kept: list[float], value: float, seen: int, chance: random.Random) -> None:
    """Into a fair sample of at most MOST, after `seen` others (Vitter's algorithm R)."""
    if len(kept) < MOST:
        kept.append(value)
    elif (place := chance.randrange(seen + 1)) < MOST:
        kept[place] = value


def main(nice: int) -> None:
    os.nice(nice)
    os.set_blocking(0, False)
    kept: list[float] = []
    chance, seen = random.Random(1), 0
    while True:
        due = time.perf_counter() + EVERY_S
        time.sleep(EVERY_S)
        late_ms = (time.perf_counter() - due) * 1000
        keep(kept, round(late_ms, 3), seen, chance)
        seen += 1
        try:
            if os.read(0, 1) == b"":
                break
        except BlockingIOError:
            continue
    sys.stdout.write(json.dumps(kept))


if __name__ == "__main__":
    main(int(sys.argv[1]))
