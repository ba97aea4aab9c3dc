"""Any sequence of landings against a plain dictionary: the store holds, finds and tells exactly what lives."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from farm.connector import Document, Gone, Listing
from farm.store.check import check
from farm.store.row import document_id
from farm.store.search import documents, search
from farm.store.store import Store
from tests.store.attempts import Attempts, names, rows, unit

KEYS = ("a", "b", "c", "a/b")
WORDS = ("amber", "birch", "cedar", "dogwood")

keys = st.sampled_from(KEYS)
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join)


class World(RuleBasedStateMachine):
    """Units of one document each; a unit's version is its content's number, so a rename keeps it."""

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.store = Store.open(Path(self.folder.name) / "store.db")
        self.notes = Attempts(self.store)
        self.disk: dict[str, tuple[str, str]] = {}  # key: (version, text), as it is
        self.held: dict[str, tuple[str, str]] = {}  # as the store should hold it
        self.sink: dict[str, int] = {}
        self.versions = 0
        self.slow: list[tuple[int, str, str, str]] = []

    @rule(key=keys, text=texts)
    def save(self, key: str, text: str) -> None:
        self.versions += 1
        self.disk[key] = (f"ino{self.versions}", text)

    @rule(key=keys)
    def delete(self, key: str) -> None:
        self.disk.pop(key, None)

    @rule(old=keys, new=keys)
    def rename(self, old: str, new: str) -> None:
        if old in self.disk:
            self.disk[new] = self.disk.pop(old)

    @rule(key=keys, text=texts)
    def begin_a_slow_attempt(self, key: str, text: str) -> None:
        self.slow.append((self.notes.next, key, f"slow{self.notes.next}", text))
        self.notes.next += 1

    @rule()
    def end_the_slow_attempts(self) -> None:
        """What began before the last listing must lose against all that this listing settled."""
        for attempt, key, version, text in self.slow:
            landing = self.notes.extract(key, Document(key, text), version=version, attempt=attempt)
            if not self.notes.land(landing).stale:
                self.held[key] = (version, text)
        self.slow.clear()

    @rule(batched=st.booleans())
    def run(self, batched: bool) -> None:
        """A full run: discover, then extract every child."""
        landing = self.notes.discover(
            *(unit(key, version) for key, (version, _) in self.disk.items()), Listing(complete=True)
        )
        self._discover(self.notes.land(landing).children, batched)
        if not self.slow:
            assert self.held == self.disk

    @rule(paths=st.sets(keys))
    def event(self, paths: set[str]) -> None:
        """An event run looks at some keys only."""
        lines = [unit(key, self.disk[key][0]) if key in self.disk else Gone(key) for key in sorted(paths)]
        self._discover(self.notes.land(self.notes.discover(*lines)).children, batched=False)
        for key in paths:
            assert self.held.get(key) == self.disk.get(key)

    def _discover(self, children: object, batched: bool) -> None:
        wanted = names(children)  # type: ignore[arg-type]
        landings = [
            self.notes.extract(key, Document(key, self.disk[key][1]), version=version, uri=f"file:///{key}")
            for key, version in wanted
        ]
        if batched:
            self.store.land(landings)
        else:
            for landing in landings:
                self.notes.land(landing)
        found = rows(
            self.store,
            "SELECT d.key, u.version, d.text FROM document AS d JOIN unit AS u"
            " ON u.source = d.source AND u.key = d.unit WHERE d.deleted_at IS NULL AND u.gone_at IS NULL",
        )
        self.held = {key: (version, text) for key, version, text in found}

    @invariant()
    def search_finds_exactly_what_lives(self) -> None:
        if not hasattr(self, "store"):
            return
        path = self.store.path
        assert {row.key for row in documents(path)} == set(self.held)
        for word in WORDS:
            found = {hit.doc_id for hit in search(path, word)}
            assert found == {
                document_id("notes", key) for key, (_, text) in self.held.items() if word in text.split()
            }

    @invariant()
    def a_sink_that_listens_now_and_then_knows_what_lives(self) -> None:
        if not hasattr(self, "store"):
            return
        for change in self.store.changes("sink"):
            if change.op == "put":
                self.sink[change.ref] = change.seq
            else:
                self.sink.pop(change.ref, None)
            self.store.acknowledge("sink", change.seq)
        assert set(self.sink) == {document_id("notes", key) for key in self.held}

    def teardown(self) -> None:
        if hasattr(self, "store"):
            assert check(self.store.path, deep=True) == []
            self.store.close()
            self.folder.cleanup()


World.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestWorld = World.TestCase
