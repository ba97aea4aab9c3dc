"""The landing thread in hard times."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from farm import lander as landers
from farm import spool
from farm.connector import Document
from farm.core.job import Ending, Outcome, Stage
from farm.lander import Entry, Lander
from farm.lines import encode
from farm.store.landing import Landing
from tests.support.wait import until


def entry(folder: Path, number: int = 1) -> Entry:
    path = folder / f"{number}.jsonl"
    path.write_bytes(encode(Document(f"a{number}", text="some words")))
    ending = Ending(number, number, Outcome.SUCCEEDED, start=0, end=path.stat().st_size, items=1)
    lines = spool.Part(path, 0, ending.end)
    landing = Landing("notes", number, number, Stage.EXTRACT, lines, key=f"a{number}", version="1")
    return Entry(landing, ending, path)


def test_what_waits_lands_together_as_far_as_a_batch_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landers, "BATCH_LANDINGS", 20)
    batches: list[None] = []
    lander = Lander(tmp_path / "store.db", wake=lambda: batches.append(None))
    for number in range(1, 51):
        lander.put(entry(tmp_path, number))
    lander.start()
    try:
        landed: list[int] = []
        until(lambda: landed.extend(result.job_id for result, _ in lander.poll()) or len(landed) == 50, 20)
        assert landed == list(range(1, 51))
        until(lambda: len(batches) == 3, 20)
        lander.put(entry(tmp_path, 51))
        ((alone, _),) = until(lander.poll, 20)
        assert alone.new == 1
        until(lambda: len(batches) == 4, 20)
    finally:
        lander.close()


@pytest.mark.parametrize("shortage", [errno.EMFILE, errno.ENOMEM])
def test_a_spool_that_cannot_be_read_for_want_of_something_lands_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shortage: int
) -> None:
    """A limit that is lowered for the whole process would hit the test itself: so the reading says it."""
    refused = [shortage] * 2
    read, one = spool.read, entry(tmp_path)

    def short(path: Path, start: int, end: int) -> object:
        if refused:
            raise OSError(refused.pop(), "short", str(path))
        return read(path, start, end)

    monkeypatch.setattr(spool, "read", short)
    monkeypatch.setattr(landers, "AGAIN_S", 0.01)
    lander = Lander(tmp_path / "store.db", wake=lambda: None)
    lander.start()
    try:
        lander.put(one)
        ((landed, _),) = until(lander.poll, 20)
        assert landed.new == 1
        assert lander.failure is None
    finally:
        lander.close()


def test_a_spool_that_cannot_be_read_at_all_ends_the_landing(tmp_path: Path) -> None:
    lander = Lander(tmp_path / "store.db", wake=lambda: None)
    lander.start()
    gone = entry(tmp_path)
    gone.spool.unlink()
    lander.put(gone)
    until(lambda: lander.failure, 20)
    assert isinstance(lander.failure, FileNotFoundError)
    lander.close()
