"""A folder of hundreds of real files, bad ones among them: each becomes a document or a reason."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from connectors.files.names import path_of
from farm import lines
from farm.connector import Document, InvalidInput, Listing, Unit
from tests.connectors.conftest import Folder
from tests.support import corpus

pytestmark = pytest.mark.timeout(400)  # the first run fetches the files


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> corpus.Corpus:
    return corpus.build(tmp_path_factory.mktemp("corpus") / "folder")


@pytest.fixture(scope="module")
def read(real: corpus.Corpus) -> dict[str, Document | str]:
    """Every unit of the corpus: its document, or the reason why there is none."""
    folder = Folder(real.folder)
    found: dict[str, Document | str] = {}
    for key in folder.keys():  # noqa: SIM118  a list of units, not a mapping
        before = time.monotonic()
        try:
            found[key] = folder.document(key)
        except InvalidInput as refusal:
            found[key] = str(refusal)
        assert time.monotonic() - before < 30, f"{key} took too long"
    return found


def test_it_is_a_real_folder(real: corpus.Corpus, read: dict[str, Document | str]) -> None:
    mimes = Counter(each.mime for each in read.values() if isinstance(each, Document))
    assert len(read) >= 300
    assert len([mime for mime, count in mimes.items() if count >= 2]) >= 8


def test_every_file_is_a_document_or_refused_with_a_reason_or_no_document_at_all(
    real: corpus.Corpus, read: dict[str, Document | str]
) -> None:
    assert len(read) + len(real.left_out) == real.files
    assert not real.left_out & set(read)


def test_the_bad_ones_and_only_they_are_refused(real: corpus.Corpus, read: dict[str, Document | str]) -> None:
    refused = {key: each for key, each in read.items() if isinstance(each, str)}
    assert {key: reason for key, reason in real.refused.items() if reason not in refused.get(key, "")} == {}
    assert set(refused) == set(real.refused)


def test_the_phrase_stands_in_all_that_hold_it(real: corpus.Corpus, read: dict[str, Document | str]) -> None:
    holding = {key for key, each in read.items() if isinstance(each, Document) and real.phrase in each.text}
    assert holding == real.planted


def test_marks_of_the_library_are_no_content(read: dict[str, Document | str]) -> None:
    for key, document in read.items():
        if isinstance(document, Document):
            texts = [document.text, *(element.text for element in document.elements)]
            assert not [text for text in texts if "PAGE BREAK" in text or "<!-- PAGE" in text], key
            assert "\x00" not in document.text, key


def test_what_stands_in_tables_and_lists_stands_in_the_text(read: dict[str, Document | str]) -> None:
    for key, document in read.items():
        if not isinstance(document, Document):
            continue
        words = set(document.text.split())
        for element in document.elements:
            if element.type in ("Table", "ListItem") and "openxml" in document.mime:
                missing = [word for word in element.text.split() if word not in words]
                assert not missing, (key, element.type, missing[:5])


def test_every_element_has_a_name_of_unstructured(read: dict[str, Document | str]) -> None:
    known = {
        "Title",
        "NarrativeText",
        "ListItem",
        "Table",
        "CodeSnippet",
        "Formula",
        "Footnote",
        "Header",
        "Footer",
    }
    documents = [document for document in read.values() if isinstance(document, Document)]
    types = {element.type for document in documents for element in document.elements}
    assert types <= known
    assert {"Title", "NarrativeText", "ListItem", "Table"} <= types


def test_charsets_come_out_as_letters(read: dict[str, Document | str]) -> None:
    documents = [
        each for key, each in read.items() if key.startswith("charsets/") and isinstance(each, Document)
    ]
    broken = [document.key for document in documents if "\ufffd" in document.text]
    assert len(documents) > 40
    assert len(broken) <= 3


def test_a_second_listing_is_the_same_and_complete(
    real: corpus.Corpus, read: dict[str, Document | str]
) -> None:
    listed = Folder(real.folder).listed()
    units = {item.key: item.version for item in listed if isinstance(item, Unit)}
    assert set(units) == set(read)
    assert listed[-1] == Listing(complete=True)
    for key in units:
        status = os.lstat(Path(real.folder) / path_of(key))
        assert units[key] == f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}"


@pytest.mark.parametrize(
    "suffix", [".pdf", ".docx", ".pptx", ".xlsx", ".xls", ".odt", ".ods", ".msg", ".eml", ".html"]
)
def test_a_damaged_file_is_read_or_refused_and_never_worse(
    real: corpus.Corpus, tmp_path: Path, suffix: str
) -> None:
    chance = random.Random(suffix)
    paths = sorted(path for path in real.folder.rglob(f"*{suffix}") if 1000 < path.stat().st_size < 100_000)
    folder = Folder(tmp_path)
    for path in chance.sample(paths, min(len(paths), 12)):
        for _ in range(4):
            data = bytearray(path.read_bytes())
            if chance.random() < 0.3:
                del data[chance.randrange(len(data)) :]
            for _ in range(chance.randrange(1, 30)):
                at = chance.randrange(max(1, len(data) - 8))
                data[at : at + 8] = chance.randbytes(8)
            try:
                folder.document(f"damaged{suffix}", bytes(data))
            except InvalidInput as refusal:
                assert str(refusal)


def test_a_document_fits_on_a_line_of_the_protocol(read: dict[str, Document | str]) -> None:
    for document in read.values():
        if isinstance(document, Document):
            assert len(lines.encode(document)) < lines.MAX_LINE_BYTES
