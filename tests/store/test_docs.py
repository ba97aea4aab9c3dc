"""docs/store.md says what is so."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from types import ModuleType

import pytest

from farm.connector import Document, Element
from farm.store import query, row, snippet
from farm.store.store import Store
from tests.store.attempts import Attempts, rows

PAGE = Path(__file__).parents[2] / "docs" / "store.md"
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_of_the_page_answers(store: Store, notes: Attempts, query: str) -> None:
    notes.land(
        notes.extract(
            "a",
            Document(
                "a",
                "about an engine",
                title="Engines",
                metadata={"author": "Ada"},
                elements=[Element("Title", "Engines"), Element("Title", "More")],
            ),
        )
    )
    assert len(rows(store, query)) == 1


def test_the_page_has_three_queries_and_names_every_table(store: Store) -> None:
    assert len(QUERIES) == 3
    page = PAGE.read_text(encoding="utf-8")
    tables = rows(
        store,
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        " AND name NOT LIKE 'document_fts_%'",
    )
    assert [name for name in tables if f"`{name}`" not in page] == []


def test_datasette_and_sqlite_utils_find_the_index(store: Store) -> None:
    """Both look for a virtual table that names its content table in this way."""
    found = rows(
        store,
        "SELECT name FROM sqlite_master WHERE rootpage = 0"
        " AND sql LIKE '%VIRTUAL TABLE%USING FTS%content=\"document\"%'",
    )
    assert found == ["document_fts"]


@pytest.mark.parametrize("module", [query, row, snippet], ids=lambda module: module.__name__)
def test_the_examples_in_docstrings_are_true(module: ModuleType) -> None:
    failed, tried = doctest.testmod(module)
    assert (failed, tried > 0) == (0, True)
