"""Many seeds on all cores, and their figures summed; or one seed, replayed here."""

from __future__ import annotations

import contextlib
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
from typing import Any

Play = Callable[[int, Path], dict[str, float]]
"""Lives through a seed in this folder; its figures. Raises AssertionError."""

YEAR_S = 365.25 * 86_400


def fast_folder() -> Path | None:
    """Where files cost no disk."""
    shared = Path("/dev/shm")
    return shared if shared.is_dir() and os.access(shared, os.W_OK) else None


@contextlib.contextmanager
def unlogged() -> Iterator[None]:
    """Without the farm's log, which would tell of every one of thousands of faults; as before afterwards."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def play(seeds: range, of: Play) -> tuple[Counter[str], list[str]]:
    """These seeds, one after the other: the sum of their figures, and what was broken."""
    sums: Counter[str] = Counter()
    broken = []
    with unlogged(), tempfile.TemporaryDirectory(dir=fast_folder(), prefix="farm-seeds-") as folder:
        for seed in seeds:
            try:
                sums.update(of(seed, Path(folder)))
            except AssertionError as error:
                broken.append(str(error))
    return sums, broken


def play_on_all_cores(
    seeds: range, of: Play, minutes: float = float("inf"), chunk: int = 50
) -> tuple[Counter[str], list[str]]:
    """As `play`, spread over the cores; as many of the seeds as can be begun in this time."""
    sums: Counter[str] = Counter()
    broken: list[str] = []
    cores = len(os.sched_getaffinity(0))
    over_at = time.monotonic() + 60 * minutes
    parts = [seeds[i : i + chunk] for i in range(0, len(seeds), chunk)]
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        for i in range(0, len(parts), 4 * cores):
            if time.monotonic() > over_at:
                break
            for some, wrong in pool.imap_unordered(partial(play, of=of), parts[i : i + 4 * cores]):
                sums.update(some)
                broken += wrong
    return sums, broken


def figures(sums: Counter[str], broken: list[str], took_s: float) -> dict[str, Any]:
    """For a report."""
    years = round(sums["simulated_s"] / YEAR_S, 1)
    counts = {name: int(n) for name, n in sorted(sums.items()) if name != "simulated_s"}
    return {**counts, "simulated_years": years, "took_s": round(took_s), "broken": broken}


def told(found: dict[str, Any]) -> Iterator[str]:
    """The figures for a reader."""
    yield f"{found['seeds']:,} seeds lived through in {found['took_s']} s, {len(found['broken'])} broken"
    yield f"{found['simulated_years']} simulated years"
    for name in ("steps", "jobs", "attempts", "kills", "stops", "full disks"):
        yield f"{found.get(name, 0):,} {name}"
    yield from found["broken"][:20]


def main(of: Play) -> None:
    """`… SEED` replays one, with its traceback; `… FIRST END [MINUTES]` plays a range, or what fits."""
    words = sys.argv[1:]
    if len(words) == 1:
        with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
            print(of(int(words[0]), Path(folder)))  # noqa: T201
        return
    began = time.monotonic()
    minutes = float(words[2]) if len(words) > 2 else float("inf")
    sums, broken = play_on_all_cores(range(int(words[0]), int(words[1])), of, minutes)
    found = figures(sums, broken, time.monotonic() - began)
    print("\n".join(told(found)))  # noqa: T201
    sys.exit(bool(broken))
