"""The farm's own landing thread, alone and beside somebody who searches, in turns.

Each round gives it the spools of launches, always more than it takes at once, as a backlog does. The text is made
of passages of what is installed; nearly every document has the common words, exactly one has the rare one.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path

from farm.connector import Document, Line
from farm.core.job import Ending, Outcome, Stage
from farm.lander import Entry, Lander
from farm.lines import Malformed, encode
from farm.spool import Part
from farm.store.landing import Landing
from farm.store.store import Store
from loadtest.effort import measured
from loadtest.farmhouse import until
from loadtest.figures import median, quantile
from loadtest.papers import passages
from loadtest.probes import figure
from loadtest.record import Event
from loadtest.scenario import LandingProbe
from loadtest.searcher import KINDS, RARE

BATCH = 512
LAUNCH = 64
"""Documents that share a spool."""
BACKLOG = 4_096
"""Documents that wait, as long as there are so many."""
ROUND_S = 600.0
SOURCES = ("papers",) * 9 + ("letters",)

Measured = dict[str, list[float]]


def landing_rates(folder: Path, asked: LandingProbe) -> Iterator[Event]:
    """Landing alone and beside searches, by the clock and by the CPU time of its thread; each kind of search."""
    folder.mkdir()
    store = folder / "store.db"
    documents = _documents(asked.document_bytes)
    with Store.open(store) as writer:
        for start in range(0, asked.held, BATCH):
            batch = islice(documents, min(BATCH, asked.held - start))
            writer.land([one.landing([one.document]) for one in batch])
    rounds: dict[str, Measured] = {"alone": defaultdict(list), "searched": defaultdict(list)}
    searches: Measured = defaultdict(list)
    for n in range(asked.rounds):
        for name in list(rounds)[:: 1 if n % 2 == 0 else -1]:
            some = _spooled(folder / "spool", islice(documents, asked.documents))
            searching = _searching(store, asked.searches_per_s, searches)
            _land(store, some, rounds[name], nullcontext() if name == "alone" else searching)
    yield figure("landing.held", "documents", [asked.held])
    for name, found in rounds.items():
        for what, unit in UNITS.items():
            yield figure(f"landing.{name}.{what}", unit, found[what])
    cpu = {name: median(found["mb_per_cpu_s"]) for name, found in rounds.items()}
    yield figure("landing.searched.cpu_ratio", "x", [cpu["alone"] / cpu["searched"]])
    for kind in KINDS:
        took_ms = searches[f"{kind}.ms"]
        yield figure(f"search.{kind}.ms", "ms", took_ms)
        yield figure(f"search.{kind}.p99_ms", "ms", [quantile(took_ms, 0.99)] if took_ms else [])
        yield figure(f"search.{kind}.cpu_ms", "ms", searches[f"{kind}.cpu_ms"])


UNITS = {
    "mb_per_s": "MB/s",
    "mb_per_cpu_s": "MB/s of CPU",
    "documents_per_batch": "documents",
    "others_cores": "cores",
}


@dataclass(frozen=True, slots=True)
class _One:
    """A document, and the attempt that found it."""

    number: int
    document: Document

    def landing(self, lines: Iterable[Line | Malformed]) -> Landing:
        return Landing(
            source=SOURCES[self.number // LAUNCH % len(SOURCES)],
            job_id=self.number,
            attempt_id=self.number,
            stage=Stage.EXTRACT,
            lines=lines,
            key=self.document.key,
            version="1",
            uri=self.document.uri,
        )


def _documents(size: int) -> Iterator[_One]:
    """Without end; the same every time. The title has a word that no other document has."""
    chance, paragraphs = random.Random("landing"), [part for text in passages() for part in text]
    for number in count(1):
        text = ""
        while len(text) < size:
            text += chance.choice(paragraphs)[:size] + "\n\n"
        key = f"{number}.txt"
        yield _One(
            number,
            Document(
                key, text[:size], uri=f"file:///{key}", title=f"Paper {RARE}{number}", mime="text/plain"
            ),
        )


@dataclass
class _Spooled:
    """Entries as the dispatcher hands them over, and the bytes of text in them."""

    entries: list[Entry] = field(default_factory=list)
    text_bytes: int = 0


def _spooled(folder: Path, documents: Iterator[_One]) -> _Spooled:
    """Written as workers write it: a file for each launch."""
    folder.mkdir(exist_ok=True)
    found = _Spooled()
    while launch := list(islice(documents, LAUNCH)):
        path, end = folder / f"{launch[0].number}.jsonl", 0
        with path.open("wb") as file:
            for one in launch:
                start, end = end, end + file.write(encode(one.document))
                found.entries.append(
                    Entry(
                        one.landing(Part(path, start, end)),
                        Ending(one.number, one.number, Outcome.SUCCEEDED, start=start, end=end, items=1),
                        path,
                    )
                )
                found.text_bytes += len(one.document.text.encode())
    return found


def _land(store: Path, some: _Spooled, found: Measured, beside: AbstractContextManager[None]) -> None:
    """Have all of it landed by a landing thread of the farm's.

    What goes on beside it begins after the thread has opened the store and ends before it closes it, as a farm does
    when it starts and stops: both keep others out for a moment.
    """
    woken = threading.Event()
    batches = 0

    def wake() -> None:
        nonlocal batches
        batches += 1
        woken.set()

    lander = Lander(store, wake=wake)
    lander.start()
    try:
        with beside:
            before_s, waiting, landed, new = _cpu_s(lander), iter(some.entries), 0, 0
            batches, put = 0, 0
            with measured() as effort:
                while landed < len(some.entries):
                    for entry in islice(waiting, BACKLOG - (put - landed)):
                        lander.put(entry)
                        put += 1
                    if not woken.wait(ROUND_S) or lander.failure:
                        raise RuntimeError(f"landing stands still: {lander.failure}")
                    woken.clear()
                    results = lander.poll()
                    landed += len(results)
                    new += sum(result.new for result, _ in results)
            landing_s, gathered = _cpu_s(lander) - before_s, batches
    finally:
        lander.close()
    if new != len(some.entries):
        raise RuntimeError(f"{new} of {len(some.entries)} documents landed")
    for path in {entry.spool for entry in some.entries}:
        path.unlink()
    size = some.text_bytes / 1e6
    found["mb_per_s"].append(size / effort.wall_s)
    found["mb_per_cpu_s"].append(size / landing_s)
    found["documents_per_batch"].append(landed / gathered)
    found["others_cores"].append(effort.others_cores)


def _cpu_s(lander: Lander) -> float:
    """CPU seconds that its thread has used, which it says itself, in its turn."""
    said: list[float] = []
    lander.do(lambda _: said.append(time.thread_time()))
    until(lambda: said, ROUND_S, "the landing thread says what it used", every_s=0.001)
    return said[0]


@contextmanager
def _searching(store: Path, per_s: float, found: Measured) -> Iterator[None]:
    """Somebody searches while inside; what each search took is there afterwards."""
    with subprocess.Popen(
        [sys.executable, "-m", "loadtest.searcher", str(store), str(per_s)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[1],
    ) as searcher:
        assert searcher.stdout is not None
        try:
            searcher.stdout.readline()
            yield
            told, _ = searcher.communicate(timeout=ROUND_S)
        finally:
            searcher.kill()
    if searcher.returncode:
        raise RuntimeError("the searcher ended with an error")
    for name, values in json.loads(told).items():
        found[name] += values
