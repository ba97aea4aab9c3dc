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


def entry(folder: Path) -> Entry:
    path = folder / "1.jsonl"
    path.write_bytes(encode(Document("a", text="some words")))
    ending = Ending(1, 1, Outcome.SUCCEEDED, start=0, end=path.stat().st_size, items=1)
    landing = Landing("notes", 1, 1, Stage.EXTRACT, spool.read(path, 0, ending.end), key="a", version="1")
    return Entry(landing, ending, path)


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

    monkeypatch.setattr(landers.spool, "read", short)
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
