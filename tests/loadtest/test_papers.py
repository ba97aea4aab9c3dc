"""The documents that are read in a comparison."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from itertools import islice
from pathlib import Path

from loadtest import papers, reading

COUNT = 100


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_no_two_documents_are_alike_and_the_kinds_are_as_the_mix_says(tmp_path: Path) -> None:
    size = papers.lay_down(tmp_path, COUNT)
    found = files(tmp_path)
    assert len({sha256(data).hexdigest() for data in found.values()}) == len(found) == COUNT
    assert sum(map(len, found.values())) == size
    kinds = Counter(Path(name).suffix[1:] for name in found)
    assert kinds == {kind: round(COUNT * share) for kind, share in papers.MIXES["papers"].items()}


def test_the_same_seed_gives_the_same_texts_and_another_one_others(tmp_path: Path) -> None:
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        papers.lay_down(tmp_path / name, 30, seed)
    texts = {
        name: {key: data for key, data in files(tmp_path / name).items() if key.endswith((".md", ".html"))}
        for name in "abc"
    }
    assert texts["a"] == texts["b"] != texts["c"]


def test_a_stream_is_the_same_for_the_same_seed_and_has_the_kinds_of_its_mix() -> None:
    once, again, other = (dict(islice(papers.files("mixed", seed), 100)) for seed in ("1", "1", "2"))
    assert once.keys() == other.keys()
    kinds = Counter(name.rsplit(".")[-1] for name in once)
    assert kinds == {kind: round(100 * share) for kind, share in papers.MIXES["mixed"].items()}
    assert kinds.keys() == papers.WRITERS.keys()
    dated = (".docx", ".xlsx", ".pdf")  # these say when they were made
    assert all(once[name] == again[name] for name in once if not name.endswith(dated))
    assert sum(once[name] != other[name] for name in once) >= 90  # Python's library has no seed
    assert all(len(content) > 100 for content in once.values())


def test_the_connector_lists_and_reads_every_one(tmp_path: Path) -> None:
    papers.lay_down(tmp_path, COUNT)
    found = [reading.extracted(str(tmp_path), unit) for unit in reading.listed(tmp_path)]
    assert len(found) == COUNT
    assert all(len(documents) == 1 and documents[0].text.strip() for _, documents in found)
