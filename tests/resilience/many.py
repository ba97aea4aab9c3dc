"""Many seeds on all cores, and their figures summed; or one seed, replayed here."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

Play = Callable[[int, Path], dict[str, float]]
"""Lives through a seed in this folder; its figures. Raises AssertionError."""

YEAR_S = 365.25 * 86_400


def fast_folder() -> Path | None:
    """Where files cost no disk."""
    shared = Path("/dev/shm")
    return shared if shared.is_dir() and os.access(shared, os.W_OK) else None


def play(seeds: range, of: Play) -> tuple[Counter[str], list[str]]:
    """These seeds, one after the other: the sum of their figures, and what was broken."""
    logging.disable(logging.CRITICAL)
    sums: Counter[str] = Counter()
    broken = []
    with tempfile.TemporaryDirectory(dir=fast_folder(), prefix="farm-seeds-") as folder:
        for seed in seeds:
            try:
                sums.update(of(seed, Path(folder)))
            except AssertionError as error:
                broken.append(str(error))
    return sums, broken


def play_on_all_cores(seeds: range, of: Play, chunk: int = 50) -> tuple[Counter[str], list[str]]:
    """As `play`, spread over the cores."""
    sums: Counter[str] = Counter()
    broken: list[str] = []
    context = multiprocessing.get_context("spawn")
    with context.Pool(len(os.sched_getaffinity(0))) as pool:
        parts = [seeds[i : i + chunk] for i in range(0, len(seeds), chunk)]
        for some, wrong in pool.imap_unordered(partial(play, of=of), parts):
            sums.update(some)
            broken += wrong
    return sums, broken


def report(name: str, sums: Counter[str], broken: list[str], took_s: float) -> Iterator[str]:
    yield f"{name}: {int(sums['seeds']):,} seeds lived through in {took_s:.0f} s, {len(broken)} broken"
    for figure, value in sorted(sums.items()):
        if figure == "simulated_s":
            yield f"  {value / YEAR_S:,.1f} simulated years"
        elif figure != "seeds":
            yield f"  {int(value):,} {figure}"
    yield from broken[:20]


def main(name: str, of: Play) -> None:
    """`… SEED` replays one, with its traceback; `… FIRST END` plays a range."""
    words = [int(word) for word in sys.argv[1:]]
    if len(words) == 1:
        with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
            print(of(words[0], Path(folder)))  # noqa: T201
        return
    began = time.monotonic()
    sums, broken = play_on_all_cores(range(*words), of)
    print("\n".join(report(name, sums, broken, time.monotonic() - began)))  # noqa: T201
    sys.exit(bool(broken))
