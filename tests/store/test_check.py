"""Every planted fault is found, and named."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from farm.connector import Document, Element, Gone, Record, State
from farm.store.check import RULES, check, jobs_of_documents
from farm.store.row import document_id
from farm.store.store import Store
from tests.store.attempts import Attempts

FAULTS = {
    "UPDATE document SET key = 'b' WHERE key = 'a'": "doc_id is not the hash",
    "INSERT INTO document_fts (document_fts, rowid, title, text)"
    " SELECT 'delete', id, title, text FROM document WHERE key = 'a'": "search does not know",
    "DELETE FROM document WHERE key = 'a'": "search index without a document",
    "UPDATE document SET deleted_at = 1, title = '', text = '', bytes = 0 WHERE key = 'a'": "still finds",
    "UPDATE document SET text = 'secret' WHERE key = 'gone'": "keeps its text",
    "UPDATE document SET bytes = 1 WHERE key = 'a'": "not as long as it says",
    "INSERT INTO element VALUES (99, 0, 'Title', '{}', 'x')": "element without a living document",
    "UPDATE document SET fence = 99 WHERE key = 'a'": "document that no landing noted",
    "UPDATE document SET job_id = 99 WHERE key = 'a'": "another job than its attempt's",
    "UPDATE record SET fence = 99": "record that no landing noted",
    "UPDATE unit SET fence = 99 WHERE key = 'a'": "unit that no landing noted",
    "UPDATE cursor SET fence = 99": "cursor that no landing noted",
    "UPDATE unit SET gone_at = 1 WHERE key = 'a'": "document of a unit that is gone",
    "UPDATE document SET metadata = '{' WHERE key = 'a'": "metadata that is not JSON",
    "UPDATE record SET data = ''": "record with data that is not JSON",
    "UPDATE cursor SET value = ''": "cursor that is not JSON",
    "DELETE FROM outbox WHERE op = 'put' AND kind = 'document'": "document whose last change the outbox does not",
    "UPDATE outbox SET op = 'delete' WHERE kind = 'record'": "record whose last change the outbox does not tell",
    "UPDATE outbox SET op = 'put' WHERE op = 'delete'": "something the store does not hold",
    "INSERT INTO outbox (at, op, kind, source, ref) SELECT 1, 'delete', 'document', source, doc_id FROM document"
    " WHERE key = 'a'": "the end of a name that a document has",
    "INSERT INTO outbox_cursor VALUES ('sink', 99, 0)": "consumer ahead of the outbox",
    "UPDATE document SET text = 'other words now than then', bytes = 25 WHERE key = 'a'": "its own words",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "store.db"
    with Store.open(path) as store:
        notes = Attempts(store)
        notes.hold("a", "the first words of a", title="A", elements=[Element("Title", "A")])
        notes.hold("gone", "the first words of gone")
        notes.land(notes.extract("many", *(Document(f"many#{n}", f"mail number {n}") for n in range(9))))
        notes.land(notes.discover(Gone("gone"), State(1), Record("s", {"v": 1}, key="k")))
    return path


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(path: Path, fault: str) -> None:
    assert check(path) == []
    db = sqlite3.connect(path)
    db.execute(fault)
    db.commit()
    db.close()
    assert any(FAULTS[fault] in sentence for sentence in check(path)), check(path)


def test_every_rule_has_a_fault_that_breaks_it() -> None:
    for rule, _ in RULES:
        assert any(fault in rule for fault in FAULTS.values()), rule


def test_a_word_that_only_the_index_knows_is_found_by_a_deep_check(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("UPDATE document SET text = text || ' more', bytes = bytes + 5 WHERE key = 'a'")
    db.commit()
    db.close()
    assert check(path) == []
    assert check(path, deep=True) == ["store: the search index disagrees with the documents"]


def test_a_damaged_file_is_one_sentence(path: Path) -> None:
    path.write_bytes(b"not a database" * 1000)
    [sentence] = check(path)
    assert "damaged" in sentence
    path.unlink()
    [sentence] = check(path)
    assert "store.db" in sentence


def test_jobs_of_documents_names_each_job_that_has_something_to_show(path: Path) -> None:
    found = dict(jobs_of_documents(path))
    assert found[1001] == document_id("notes", "a")
    assert list(found) == [1001, 1003]
