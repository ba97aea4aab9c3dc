"""The searcher: a process of its own that searches a store at a steady pace, as a person's commands would.

Run as `python -m loadtest.searcher STORE PER_SECOND`. It says `ready`, searches by each kind in turn, once at least,
until its standard input is closed, and then tells how long each search took, by the clock and in CPU time. Every
search opens the store.
"""

from __future__ import annotations

import json
import select
import sys
import time
from collections import defaultdict
from pathlib import Path

from farm.store.search import search

RARE = "rare"
"""Begins a word that the text must not have: the documentation, of which it is made, does not name one."""
KINDS: dict[str, tuple[str, str | None]] = {
    "rare": (f"{RARE}7", None),
    "common": ("the", None),
    "source": ("the", "letters"),
    "phrase": ('"operating system"', None),
    "common_phrase": ('"of the"', None),
    "beginning": ("ab*", None),
    "common_beginning": ("th*", None),
}
"""Of each kind the query, and the source when it is of one only."""


def main(store: Path, per_s: float) -> None:
    found: dict[str, list[float]] = defaultdict(list)
    kinds = list(KINDS.items())
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    began, n = time.perf_counter(), 0
    while n < len(kinds) or not _told_to_end(began + n / per_s):
        kind, (query, source) = kinds[n % len(kinds)]
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        hits = search(store, query, source=source)
        found[f"{kind}.ms"].append((time.perf_counter() - wall_s) * 1000)
        found[f"{kind}.cpu_ms"].append((time.process_time() - cpu_s) * 1000)
        if len(hits) != 1 if kind == "rare" else not hits:
            raise RuntimeError(f"{query} found {len(hits)} documents")
        n += 1
    sys.stdout.write(json.dumps(found))


def _told_to_end(due: float) -> bool:
    """Wait until the next search is due; one that is late comes at once."""
    ready, _, _ = select.select([sys.stdin], [], [], max(0.0, due - time.perf_counter()))
    return bool(ready)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
