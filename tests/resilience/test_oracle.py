"""The oracle's own log is believed in; so it is tested, too."""

from __future__ import annotations

import os
from pathlib import Path

from tests.resilience.oracle import Log


def test_a_line_that_was_cut_short_by_its_writers_death_takes_no_other_with_it(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl")
    log.add(n=1)
    os.write(log._fd, b'\n{"n": 2, "key": "o')
    log.add(n=3)
    facts, end = Log.read(log.path)
    assert [fact["n"] for fact in facts] == [1, 3]
    log.add(n=4)
    assert [fact["n"] for fact in Log.read(log.path, end)[0]] == [4]
    log.close()


def test_a_line_that_is_being_written_is_left_for_the_next_look(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl")
    log.add(n=1)
    os.write(log._fd, b'\n{"n": 2')
    facts, end = Log.read(log.path)
    os.write(log._fd, b', "key": "ok"}\n')
    assert [fact["n"] for fact in facts] == [1]
    assert [fact["n"] for fact in Log.read(log.path, end)[0]] == [2]
    log.close()
