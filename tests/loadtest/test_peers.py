"""Every peer on a tiny load, for real: its own server, its own workers, all jobs done and all documents alike."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import psutil
import pytest

from loadtest import papers, reading, redis
from loadtest.compare import Folder, check, noops, reads
from loadtest.peers import FLOOR, NAMES, Missing, peer
from tests.resilience.tools import needs

DOCUMENTS = 24


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Folder, Folder]:
    """What is to be read, and what to warm up with."""
    base = tmp_path_factory.mktemp("papers")
    return (
        Folder(base / "all", DOCUMENTS, papers.lay_down(base / "all", DOCUMENTS)),
        Folder(base / "warm", 8, papers.lay_down(base / "warm", 8, "warm")),
    )


@pytest.fixture(autouse=True)
def _nothing_is_left() -> object:
    yield
    assert not [p for p in psutil.Process().children(recursive=True) if "redis" in p.name()]


def ready(name: str) -> None:
    if getattr(peer(name), "NEEDS_REDIS", False):
        needs(redis.PACKAGE)


@pytest.mark.parametrize("name", NAMES)
def test_a_peer_does_all_its_jobs(name: str, tmp_path: Path) -> None:
    ready(name)
    queue = peer(name)(tmp_path, 2)
    try:
        queue.start()
        found = noops(queue, 20 if name == "rq" else 200)
    finally:
        queue.close()
    assert found.pop("others_cores") >= 0
    assert all(figure > 0 for figure in found.values())
    assert ("enqueue" in found) == (name not in FLOOR)


@pytest.mark.parametrize("name", NAMES)
def test_a_peer_reads_every_document_and_all_have_the_same_rows(
    name: str, folders: tuple[Folder, Folder], tmp_path: Path
) -> None:
    ready(name)
    queue = peer(name)(tmp_path, 2)
    try:
        queue.start()
        found = reads(queue, *folders)
    finally:
        queue.close()
    assert found["documents"] == DOCUMENTS
    assert found["wall_s"] > 0
    assert found["cpu_s"] > 0
    check(queue.store, folders[0])  # the first one's rows are what the others are held against
    with sqlite3.connect(queue.store) as db:
        db.execute("UPDATE document SET title = 'another' WHERE id = (SELECT min(id) FROM document)")
    with pytest.raises((RuntimeError, sqlite3.DatabaseError)):
        check(queue.store, folders[0])


def test_a_document_that_is_missing_is_noticed(folders: tuple[Folder, Folder], tmp_path: Path) -> None:
    units = reading.listed(folders[0].path)
    rows = reading.Rows(tmp_path / "store.db")
    rows.write([reading.extracted(str(folders[0].path), unit) for unit in units[1:]])
    rows.close()
    with pytest.raises(RuntimeError, match=f"{DOCUMENTS - 1} of {DOCUMENTS}"):
        check(tmp_path / "store.db", folders[0])


def test_a_task_that_is_delivered_twice_leaves_its_rows_once(
    folders: tuple[Folder, Folder], tmp_path: Path
) -> None:
    folder = folders[0].path
    once, twice = tmp_path / "once.db", tmp_path / "twice.db"
    for unit in reading.listed(folder):
        reading.read_and_write(*reading.arguments(folder, unit, once))
        reading.read_and_write(*reading.arguments(folder, unit, twice))
        reading.read_and_write(*reading.arguments(folder, unit, twice))
    assert reading.done(twice) == DOCUMENTS
    assert reading.digest(once) == reading.digest(twice)


def test_a_peer_whose_package_is_missing_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("loadtest.peers.celery", "loadtest.tasks.celery"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "celery", None)
    with pytest.raises(Missing, match="the package celery is not installed"):
        peer("celery")


def test_redis_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Missing, match="the program redis-server is not installed"):
        redis.install()
