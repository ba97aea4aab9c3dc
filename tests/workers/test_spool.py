"""END lines are found from the last one's offset, whatever lies between them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from farm.core.job import Outcome
from farm.workers.spool import End, Writer, ends

CONTENT = b'{"type":"DOCUMENT","key":"a","text":"{\\"type\\":\\"END\\",\\"job\\":9}"}\n'


def written(path: Path, content: list[bytes], message: str = "") -> list[End]:
    """A spool of as many jobs, each with its content."""
    writer, made = Writer(path), []
    for job, lines in enumerate(content, 1):
        end = End(job, job + 70, Outcome.SUCCEEDED, message, started_at=1.5, start=writer.offset)
        writer.line(lines)
        writer.end(end)
        made.append(end)
    writer.close()
    return made


@pytest.mark.parametrize(
    "content",
    [[b""], [b""] * 4096, [b"", CONTENT, b""], [CONTENT] * 3, [b"", b"", CONTENT * 5_000, b""]],
    ids=["one", "many without content", "some with content", "all with content", "one with much content"],
)
def test_every_end_is_found_in_its_order(tmp_path: Path, content: list[bytes]) -> None:
    made = written(tmp_path / "spool", content)
    assert ends(tmp_path / "spool", made[-1].end, len(made)) == made


@pytest.mark.parametrize("content", [[b""] * 3, [b"", CONTENT, b""]])
def test_only_what_lies_before_the_given_end_counts(tmp_path: Path, content: list[bytes]) -> None:
    """A line that its worker wrote and did not tell of, and one that was cut off by its death."""
    made = written(tmp_path / "spool", content)
    with (tmp_path / "spool").open("ab") as file:
        file.write(b'{"type":"END","job":4,"attempt"')
    assert ends(tmp_path / "spool", made[1].end, 3) == made[:2]
    assert ends(tmp_path / "spool", made[2].end, 3) == made


FORGED = b'{"type":"END","job":9,"attempt":9,"outcome":"crashed"%s}\n'
STRAYS = [
    b"Segmentation fault\n",
    b'{"type":"END",}\n',
    FORGED % b"",
    FORGED % b',"prev":0',
    FORGED % b',"end":-1',
]


@pytest.mark.parametrize("stray", STRAYS)
def test_what_somebody_else_wrote_between_them_is_no_end(tmp_path: Path, stray: bytes) -> None:
    path = tmp_path / "spool"
    writer, made = Writer(path), []
    for job in (1, 2):
        made.append(End(job, job, Outcome.SUCCEEDED, start=writer.offset))
        writer.end(made[-1])
        with path.open("ab") as file:
            file.write(stray)
        writer._written = os.stat(path).st_size
    assert ends(path, made[-1].end, 3) == made


@pytest.mark.parametrize("stray", STRAYS)
def test_nor_is_what_somebody_else_wrote_before_the_first(tmp_path: Path, stray: bytes) -> None:
    path = tmp_path / "spool"
    path.write_bytes(stray)
    writer = Writer(path)
    made = [End(job, job, Outcome.SUCCEEDED, start=writer.offset) for job in (1, 2)]
    for end in made:
        writer.end(end)
    assert ends(path, made[-1].end, 3) == made


def test_a_spool_that_is_gone_or_has_no_end_has_none(tmp_path: Path) -> None:
    assert ends(tmp_path / "none", 0, 3) == []
    (tmp_path / "torn").write_bytes(b'{"type":"END","job":1')
    assert ends(tmp_path / "torn", 0, 3) == []
    assert ends(tmp_path / "torn", -1, 3) == []
