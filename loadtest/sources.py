"""Sources that people have, at the size that some have: how long a first run takes, one with nothing new, one with
ten changes.

    python -m loadtest sources
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from loadtest import papers
from loadtest.farmhouse import Farmhouse, until

CHANGED = 10
RUN_S = 600.0
ENDED = ("succeeded", "partial", "failed", "cancelled")


def measure(notes: int, files: int) -> Iterator[tuple[str, str, float, int]]:
    """(source, what, seconds from the asking to the run's end, documents then), as each is measured."""
    with tempfile.TemporaryDirectory(prefix="loadtest-sources-") as name:
        base = Path(name)
        vault, repository = base / "vault", base / "repository"
        _vault(vault, notes)
        _repository(repository, files)
        sources = {
            "vault": {"connector": "obsidian", "options": {"path": str(vault)}},
            "repository": {"connector": "github", "options": {"repository": str(repository)}},
        }
        places = {"vault": vault, "repository": repository}
        with Farmhouse(base / "home", {"sources": sources}) as farm:
            for source, place in places.items():
                yield source, "first run", *_run(farm, source)
                yield source, "nothing new", *_run(farm, source)
                _change(place)
                if place is repository:
                    _commit(place)
                yield source, f"{CHANGED} changed", *_run(farm, source)


def _run(farm: Farmhouse, source: str) -> tuple[float, int]:
    began = time.perf_counter()
    run_id = farm.ask("run", source=source)["run_id"]

    def ended() -> str:
        (state,) = farm.ledger().execute("SELECT state FROM run WHERE id = ?", (run_id,)).fetchone()
        return state if state in ENDED else ""

    state = until(ended, RUN_S, f"the run of {source} has ended")
    if state != "succeeded":
        raise RuntimeError(f"the run of {source} ended {state}")
    return time.perf_counter() - began, farm.documents()


def _vault(folder: Path, notes: int) -> None:
    """Each note has a tag and links to two others."""
    (folder / ".obsidian").mkdir(parents=True)
    for n, (_, content) in enumerate(islice(papers.files("notes", "sources"), notes)):
        head = f"---\ntags: [part{n % 20}]\n---\n[[note {n // 2}]] and ![[note {(n * 7) % notes}#Part 1]]\n"
        place = folder / f"part {n % 20}"
        place.mkdir(exist_ok=True)
        (place / f"note {n}.md").write_bytes(f"{head}\n## Part 1\n\n".encode() + content)


def _repository(folder: Path, files: int) -> None:
    folder.mkdir()
    for name, content in islice(papers.files("notes", "repository"), files):
        (folder / name).write_bytes(content)
    _git(folder, "init", "-q", "-b", "main")
    _commit(folder)


def _change(folder: Path) -> None:
    for path in islice(sorted(folder.rglob("*.md")), CHANGED):
        path.write_bytes(path.read_bytes() + b"\nOne more line.\n")


def _commit(folder: Path) -> None:
    _git(folder, "add", "-A")
    _git(folder, "-c", "user.name=load", "-c", "user.email=load@test", "commit", "-q", "-m", "change")


def _git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(folder), *words], check=True, stdout=subprocess.DEVNULL)
