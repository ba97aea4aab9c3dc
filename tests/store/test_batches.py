"""What lands together lands as it would one after the other, whatever it is."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from farm.connector import Document, Line, Listing, Record, Schema, Unchanged
from farm.core.job import Stage
from farm.store.check import check
from farm.store.landing import Landed, Landing
from farm.store.search import search
from farm.store.store import Store
from tests.resilience.many import fast_folder
from tests.store.attempts import counts, rows, unit

SOURCES, KEYS = ("notes", "other"), ("a", "b", "c")
TABLES = {
    "document": "source, unit, key, version, text, job_id, fence, deleted_at IS NULL",
    "record": "source, unit, stream, key, data, job_id, fence, deleted_at IS NULL",
    "unit": "source, key, version, content_hash, documents, seen, job_id, fence, gone_at IS NULL",
    "landing": "attempt_id, job_id, key, new, changed, deleted, unchanged, rejected, stale, malformed",
    "outbox": "op, kind, source, ref",
}


@st.composite
def an_extract(draw: st.DrawFn, attempt: int) -> Landing:
    """Of a unit that gives some of its documents and records, nothing new, or a line that does not belong."""
    key = draw(st.sampled_from(KEYS))
    lines: list[Line] = [
        Document(f"{key}/{n}", draw(st.sampled_from(("amber", "birch"))), content_hash=f"{key}{n}")
        for n in draw(st.sets(st.integers(1, 3)))
    ]
    lines += [Record("rows", {"id": f"{key}{n}"}) for n in draw(st.sets(st.integers(1, 2)))]
    if draw(st.booleans()):
        lines = draw(st.sampled_from(([Unchanged(key)], [*lines, unit("stray")])))
    return Landing(
        source=draw(st.sampled_from(SOURCES)),
        job_id=attempt + 100,
        attempt_id=attempt,
        stage=Stage.EXTRACT,
        lines=[Schema("rows", {}, ["id"]), *lines],
        key=key,
        version=draw(st.sampled_from("12")),
    )


@st.composite
def a_listing(draw: st.DrawFn, attempt: int) -> Landing:
    listed = [unit(key, draw(st.sampled_from("12"))) for key in draw(st.sets(st.sampled_from(KEYS)))]
    return Landing(
        source=draw(st.sampled_from(SOURCES)),
        job_id=attempt + 100,
        attempt_id=attempt,
        stage=Stage.DISCOVER,
        lines=[*listed, Listing(complete=draw(st.booleans()))],
    )


attempts = st.lists(st.integers(1, 9), max_size=9).flatmap(
    lambda numbers: st.tuples(*(an_extract(n) if n % 4 else a_listing(n) for n in numbers))
)


@settings(max_examples=40, deadline=None)
@given(before=attempts, together=attempts)
def test_a_batch_lands_as_its_attempts_one_after_the_other(
    before: tuple[Landing, ...], together: tuple[Landing, ...]
) -> None:
    together = tuple(replace(one, attempt_id=one.attempt_id + 5, job_id=one.job_id + 5) for one in together)
    with (
        tempfile.TemporaryDirectory(dir=fast_folder()) as folder,
        Store.open(Path(folder) / "one.db", lambda: 1.0) as one,
        Store.open(Path(folder) / "all.db", lambda: 1.0) as all_,
    ):
        singly: list[Landed] = []
        for landing in (*before, *together):
            singly += one.land([landing])
        for landing in before:
            all_.land([landing])
        found = all_.land(together)
        assert list(map(_told, found)) == list(map(_told, singly[len(before) :]))
        for table, columns in TABLES.items():
            sql = f"SELECT {columns} FROM {table} ORDER BY {columns}"
            assert rows(all_, sql) == rows(one, sql), table
        assert _hits(all_) == _hits(one)
        assert check(all_.path, deep=True) == []


def _told(landed: Landed) -> tuple[object, ...]:
    return (
        landed.attempt_id,
        counts(landed),
        landed.repeated,
        landed.stale,
        [*landed.children],
        landed.malformed,
    )


def _hits(store: Store) -> set[str]:
    return {hit.doc_id for hit in search(store.path, "amber")}
