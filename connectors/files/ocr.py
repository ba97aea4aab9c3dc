"""Where tesseract's language data is: kreuzberg brings the engine, not the data."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

_PLACES = (
    "/usr/share/tesseract-ocr/*/tessdata",
    "/usr/share/tessdata",
    "/usr/local/share/tessdata",
    "/opt/homebrew/share/tessdata",
)


def missing_for(languages: str) -> str:
    """Why these languages ("eng+deu") cannot be recognised here, in one sentence; empty when they can."""
    if find_spec("kreuzberg") is None:
        return "ocr needs kreuzberg: pip install 'connector-farm[documents]'"
    folder = _folder(languages)
    if folder is None:
        packages = " ".join(f"tesseract-ocr-{language}" for language in languages.split("+"))
        return f"ocr needs tesseract's data for {languages}: apt install {packages}, or set TESSDATA_PREFIX"
    return ""


def point_to(languages: str) -> None:
    """Tell the engine where its data for these languages is, unless the environment says so already."""
    folder = _folder(languages)
    if folder is not None:
        os.environ.setdefault("TESSDATA_PREFIX", str(folder))


def _folder(languages: str) -> Path | None:
    given = os.environ.get("TESSDATA_PREFIX")
    places = (
        [Path(given)]
        if given
        else [found for place in _PLACES for found in sorted(Path("/").glob(place[1:]))]
    )
    needed = [f"{language}.traineddata" for language in languages.split("+")]
    return next((place for place in places if all((place / name).is_file() for name in needed)), None)
