"""The lines of a job, read from the spool of its launch."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from farm import spool
from farm.connector import Document, Line
from farm.lines import Malformed, decode, decode_all, encode

A, B = Document("a", text="first"), Document("b", text="zwei \u2028 Zeilen")
GOOD = encode(A)


@pytest.mark.parametrize(
    "raw",
    [GOOD, GOOD.rstrip(), GOOD * 3, GOOD + b"{\n" + GOOD, b"\n", GOOD + b"\n" + GOOD, b"\n" + GOOD,
     GOOD.rstrip() + b" " + GOOD, GOOD.rstrip() + b"\r\n" + GOOD, b'{"type":"DOCUMENT","key":"\xff"}\n' + GOOD],
    ids=["one", "no end", "three", "one torn", "nothing", "blank between", "blank first", "two on a line",
         "carriage return", "no UTF-8"],
)  # fmt: skip
def test_many_lines_at_once_are_what_they_are_one_by_one(raw: bytes) -> None:
    assert list(decode_all(raw)) == [decode(line) for line in raw.removesuffix(b"\n").split(b"\n")]


def _spool(path: Path, *documents: Document) -> list[spool.Part]:
    parts, end = [], 0
    with path.open("wb") as file:
        for document in documents:
            start, end = end, end + file.write(encode(document))
            parts.append(spool.Part(path, start, end))
    return parts


def _open() -> set[str]:
    with os.scandir("/proc/self/fd") as fds:
        return {os.path.realpath(fd.path) for fd in fds}


def test_a_spool_stays_open_while_it_is_at_hand_and_no_longer(tmp_path: Path) -> None:
    first, again = _spool(tmp_path / "1", A, B)
    (other,) = _spool(tmp_path / "2", B)
    with spool.at_hand():
        assert list(first) == [A]
        assert str(tmp_path / "1") in _open()
        assert list(again) == [B]
        assert list(other) == [B]
        assert str(tmp_path / "1") not in _open()
        assert list(first) == [A]
    assert not {str(tmp_path / "1"), str(tmp_path / "2")} & _open()
    assert list(again) == [B]
    assert str(tmp_path / "1") not in _open()


def test_nothing_stays_open_when_a_reading_fails(tmp_path: Path) -> None:
    (part,) = _spool(tmp_path / "1", A)
    with pytest.raises(FileNotFoundError), spool.at_hand():
        assert list(part) == [A]
        list(spool.Part(tmp_path / "gone", 0, 5))
    assert str(tmp_path / "1") not in _open()


def test_what_is_long_is_streamed_and_the_same(tmp_path: Path) -> None:
    long = Document("long", text="x" * spool.AT_ONCE_BYTES)
    path = tmp_path / "1"
    path.write_bytes(encode(A) + encode(long) + b"{\n")
    found: list[Line | Malformed] = list(spool.read(path, 0, path.stat().st_size))
    assert found[:2] == [A, long]
    assert isinstance(found[2], Malformed)
