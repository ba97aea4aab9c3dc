"""The floor: the same rows as the farm's, and sums that add up."""

import json
import sqlite3
from contextlib import closing
from importlib import resources

from farm.doctor.ledger import examine
from farm.ledger.ledger import SCHEMA_VERSION, Ledger
from farm.sqlite import open_writer
from loadtest import floor
from tests.loadtest.test_command import loadtest

JOBS, LAUNCH = 50, 16
TABLES = ("job", "attempt", "transition")


def rows(path, table):
    """All but the times."""
    with closing(sqlite3.connect(path)) as db:
        db.row_factory = sqlite3.Row
        found = [dict(row) for row in db.execute(f"SELECT * FROM {table}")]
    for row in found:
        for name in list(row):
            if name == "at" or name.endswith("_at"):
                del row[name]
    return sorted(map(str, found))


def test_sqlite_alone_writes_the_same_rows_as_the_ledger_and_they_are_sound(tmp_path):
    plain, farms = tmp_path / "plain.db", tmp_path / "ledger.db"
    schema = resources.files("farm.ledger").joinpath("schema.sql").read_text()
    with closing(open_writer(plain, schema, SCHEMA_VERSION, {})) as db:
        writer = floor.Plain(db)
        writer.enqueue(JOBS)
        writer.work(JOBS, LAUNCH)
    ledger = Ledger.open(farms)
    floor.enqueue(ledger, JOBS)
    floor.work(ledger, LAUNCH)
    ledger.close()
    for table in TABLES:
        assert rows(plain, table) == rows(farms, table)
    assert len(rows(plain, "transition")) == 3 * JOBS
    for path in (plain, farms):
        assert [found for found in examine(path) if not found.ok] == []


def test_the_command_measures_all_layers_and_says_what_each_adds(tmp_path):
    asked = loadtest("floor", "--jobs", 300, "--repetitions", 1, "--out", tmp_path)
    assert asked.returncode == 0, asked.stderr
    assert "farm process vs SQLite alone (no-op): " in asked.stdout
    found = json.loads((tmp_path / "floor.json").read_text())
    assert found["jobs"] == 300
    assert abs(sum(found[name]["more_us"] for name in floor.LAYERS) - found["farm"]["cpu_us"]) < 1e-6
