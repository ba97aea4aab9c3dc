"""Types of options that sources of files share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pathspec import GitIgnoreSpec
from pydantic import AfterValidator


def _absolute(path: Path) -> Path:
    path = path.expanduser()
    if not path.is_absolute():
        raise ValueError("must be an absolute path, or begin with ~")
    return Path(os.path.normpath(path))


def _compiling(patterns: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in patterns:
        GitIgnoreSpec.from_lines([pattern])  # raises ValueError, with the pattern in it
    return patterns


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
"""A path that means the same wherever the farm runs; `~` is its user's home."""
Patterns = Annotated[tuple[str, ...], AfterValidator(_compiling)]
"""Patterns as in .gitignore."""
