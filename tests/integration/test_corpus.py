"""Real documents of many kinds, good and bad, through the whole farm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import corpus
from tests.support.farms import Farm, local_files


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[corpus.Corpus, Farm, int]]:
    """The corpus, the farm that has read it, and the exit code of the first run."""
    base = tmp_path_factory.mktemp("corpus")
    found = corpus.build(base / "documents")
    with Farm(base / "home", {"real": local_files(found.folder)}) as farm:
        code = farm.drain(100)
        yield found, farm, code


def living(farm: Farm) -> set[str]:
    return {key for (key,) in farm.store("SELECT DISTINCT unit FROM document WHERE deleted_at IS NULL")}


def test_every_file_is_a_document_or_refused_with_a_reason(real: tuple[corpus.Corpus, Farm, int]) -> None:
    found, farm, code = real
    assert code == 3
    assert found.files >= 300
    kinds = {Path(key).suffix.lower() for key in living(farm)}
    assert (
        len(
            kinds
            & {".pdf", ".docx", ".pptx", ".xlsx", ".html", ".md", ".eml", ".epub", ".csv", ".json", ".txt"}
        )
        >= 8
    )
    quarantined = farm.json("quarantine", "list", "--limit", "1000")
    assert all(row["message"] for row in quarantined)
    assert found.files - len(found.left_out) == len(living(farm)) + len(quarantined)
    reasons = {row["key"]: row["message"] for row in quarantined}
    for key, part in found.refused.items():
        assert part in reasons[key], (key, reasons.get(key))
    states = farm.jobs()
    assert states.keys() <= {"succeeded", "quarantined", "cancelled"}


def test_a_phrase_is_found_in_a_pdf_a_docx_and_a_mail(real: tuple[corpus.Corpus, Farm, int]) -> None:
    found, farm, _ = real
    hits = {hit["uri"].rpartition(".")[2] for hit in farm.json("search", f'"{found.phrase}"')}
    assert hits >= {"pdf", "docx", "eml"}


def test_a_second_run_extracts_nothing_and_each_change_costs_what_it_must(
    real: tuple[corpus.Corpus, Farm, int],
) -> None:
    found, farm, _ = real
    count = "SELECT count(*) FROM attempt JOIN job ON job.id = job_id WHERE stage = 'extract'"
    before = farm.ledger(count)[0][0]
    assert farm.drain(100) == 3
    assert farm.ledger(count)[0][0] == before
    texts = sorted(key for key in living(farm) if key.startswith("notes/") and key.endswith(".md"))
    changed, deleted, moved = (found.folder / key for key in texts[:3])
    changed.write_text("# changed\n\nentirely unlike what was there before\n")
    deleted.unlink()
    moved.rename(moved.with_name("moved-" + moved.name))
    assert farm.drain(100) == 3
    assert farm.ledger(count)[0][0] == before + 1
    documents = farm.json("runs")[0]["documents"]
    assert (documents["changed"], documents["deleted"], documents["new"]) == (1, 1, 0)
    keys = living(farm)
    assert texts[1] not in keys
    assert texts[2] not in keys
    assert str(Path(texts[2]).with_name("moved-" + Path(texts[2]).name)) in keys


def test_the_invariants_hold_after_all_of_it(real: tuple[corpus.Corpus, Farm, int]) -> None:
    _, farm, _ = real
    doctor = farm.cli("doctor")
    assert doctor.returncode == 0, doctor.stdout
