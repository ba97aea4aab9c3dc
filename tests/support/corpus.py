"""A folder of real documents, from the source distributions of public packages and CPython's own test data.

`real()` fetches them once with pip, the pins below, into a cache outside the repository; `build(folder)` lays
them out with bad ones among them and a phrase planted in a PDF, a DOCX and an e-mail. `python -m
tests.support.corpus FOLDER` does it by hand.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from tests.support import bad_files
from tests.support.planted import PHRASE, plant

LAYOUT = 2
"""Raise it when what is taken out of the distributions changes: the cache is then made anew."""


@dataclass(frozen=True)
class Sdist:
    """A pinned source distribution, and which of its files are taken: folder in the corpus → glob patterns."""

    name: str
    version: str
    takes: dict[str, tuple[str, ...]]
    every: int = 1
    """Of each pattern's files every n-th."""
    rename: dict[str, str] = field(default_factory=dict)
    """Extensions put right: test data is often called .txt."""


SDISTS = (
    Sdist("pypdf", "6.1.0", {"papers": ("resources/**/*.pdf",), "notes": ("*.md",)}),
    Sdist(
        "python-docx",
        "1.2.0",
        {
            "letters": ("features/steps/test_files/*.docx", "tests/test_files/*.docx"),
            "manual": ("docs/**/*.rst",),
        },
    ),
    Sdist("python-pptx", "1.0.2", {"talks": ("features/steps/test_files/*.pptx", "tests/test_files/*.pptx")}),
    Sdist("odfpy", "1.4.1", {"office": ("tests/examples/*.od[tsp]", "examples/*.od[tsp]", "*.odt")}),
    Sdist("tablib", "3.8.0", {"sheets": ("tests/files/*.xls*", "tests/files/*.ods", "tests/files/*.html")}),
    Sdist("msg_parser", "1.2.0", {"mail": ("tests/files/o*.msg",)}),
    Sdist(
        "Markdown",
        "3.8",
        {"notes": ("*.md", "docs/**/*.md", "tests/basic/*.txt"), "pages": ("tests/basic/*.html",)},
        rename={".txt": ".md"},
    ),
    Sdist(
        "chardet",
        "5.2.0",
        {"charsets": ("tests/*/*.txt", "tests/*/*.html", "tests/*/*.srt"), "feeds": ("tests/*/*.xml",)},
        every=2,
    ),
)


LOCKED = (
    "user-password.pdf",
    "both-passwords.pdf",
    "crazyones-encrypted-256.pdf",
    "encrypted-file.pdf",
    "libreoffice-writer-password.pdf",
)


@dataclass(frozen=True)
class Corpus:
    folder: Path
    files: int
    """All regular files laid down."""
    refused: dict[str, str]
    """Key → a part of the reason why it cannot be read."""
    left_out: frozenset[str]
    """Keys of what lies in the folder and is no document: never listed."""
    planted: frozenset[str]
    """Keys of the documents that hold `phrase`."""
    phrase: str = PHRASE


def cache_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "connector-farm" / "corpus"


def real() -> Path:
    """The folder of fetched files. Fetches them if need be: several may ask at once, one wins."""
    folder = cache_folder() / f"v{LAYOUT}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        making = Path(scratch) / "real"
        making.mkdir()
        with ThreadPoolExecutor(2) as pool:
            archives = list(pool.map(lambda sdist: _download(sdist, Path(scratch)), SDISTS))
        for sdist, archive in zip(SDISTS, archives, strict=True):
            _take(sdist, archive, making)
        _take_mails(making / "mail")
        try:
            making.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    return folder


def build(folder: Path) -> Corpus:
    """Lay the corpus out in `folder`, which must not exist or be empty."""
    shutil.copytree(real(), folder, dirs_exist_ok=True)
    planted = plant(folder)
    refused = dict(_known_to_be_locked(folder))
    refused |= bad_files.lay_down(folder / "bad", folder)
    left_out = bad_files.lay_down_junk(folder / "junk", folder)
    files = sum(1 for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return Corpus(folder, files, refused, frozenset(left_out), frozenset(planted))


def _download(sdist: Sdist, scratch: Path) -> Path:
    target = scratch / sdist.name
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary", ":all:", "--dest", str(target), f"{sdist.name}=={sdist.version}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    if done.returncode:
        raise RuntimeError(f"pip could not fetch {sdist.name} {sdist.version}: {done.stderr.strip()[-500:]}")
    return next(target.glob("*.tar.gz"))


def _take(sdist: Sdist, archive: Path, making: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(archive) as tar:
            tar.extractall(scratch, filter="data")
        top = next(Path(scratch).iterdir())
        for folder, patterns in sdist.takes.items():
            for pattern in patterns:
                for source in sorted(top.glob(pattern))[:: sdist.every]:
                    if not source.is_file() or not source.stat().st_size:
                        continue
                    name = f"{source.parent.name}-{source.name}"
                    for old, new in sdist.rename.items():
                        name = name.removesuffix(old) + new if name.endswith(old) else name
                    target = making / folder / sdist.name / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source, target)


def _take_mails(folder: Path) -> None:
    """CPython's odd mails, where the interpreter brings its tests."""
    found = find_spec("test.test_email") if find_spec("test") else None
    if found is None or not found.submodule_search_locations:
        return
    folder.mkdir(exist_ok=True)
    for source in sorted((Path(found.submodule_search_locations[0]) / "data").glob("msg_*.txt")):
        shutil.copyfile(source, folder / f"{source.stem}.eml")


def _known_to_be_locked(folder: Path) -> Iterator[tuple[str, str]]:
    """pypdf's files that need a password to open."""
    for path in (folder / "papers").rglob("*.pdf"):
        if path.name.endswith(LOCKED):
            yield str(path.relative_to(folder)), "encrypted"


def odd_places(folder: Path, outside: Path) -> None:
    """What lies in folders and is no file: a pipe, a socket, links out, in and round in a circle."""
    folder.mkdir(parents=True)
    outside.mkdir(parents=True)
    (outside / "secret.txt").write_text("not in the folder")
    os.mkfifo(folder / "pipe.txt")
    here = os.open(folder, os.O_RDONLY)
    try:  # a socket's name must be short: bind it through the folder's descriptor
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"/proc/self/fd/{here}/socket.txt")
    finally:
        os.close(here)
    (folder / "out.txt").symlink_to(outside / "secret.txt")
    (folder / "outside").symlink_to(outside)
    (folder / "circle").symlink_to(folder)
    (folder / "broken.txt").symlink_to("nowhere")


if __name__ == "__main__":
    built = build(Path(sys.argv[1]))
    print(f"{built.files} files, {len(built.refused)} of them unreadable")  # noqa: T201
