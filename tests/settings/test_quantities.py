"""Durations and sizes as people write them."""

from __future__ import annotations

import pytest

from farm.quantities import seconds, size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("15m", 900.0),
        ("30s", 30.0),
        ("1h30m", 5400.0),
        ("250ms", 0.25),
        ("1.5h", 5400.0),
        ("2d", 172800.0),
        (" 1 h 30 m ", 5400.0),
        ("1W", 604800.0),
        (90, 90.0),
        (0.5, 0.5),
    ],
)
def test_a_duration_is_read(text: str | float, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "15", "15 minutes", "m15", "1h30", "-5s", "5x", True, None, ["1s"]])
def test_what_is_no_duration_says_how_to_write_one(text: object) -> None:
    with pytest.raises(ValueError, match="write it like 30s"):
        seconds(text)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("256MB", 256_000_000),
        ("256MiB", 268_435_456),
        ("1.5 GB", 1_500_000_000),
        ("2g", 2000000000),
        ("2Gi", 2 * 1024**3),
        ("512kb", 512_000),
        ("10B", 10),
        (4096, 4096),
    ],
)
def test_a_size_is_read(text: str | int, expected: int) -> None:
    assert size(text) == expected


@pytest.mark.parametrize("text", ["", "256", "MB", "-1MB", "1 XB", "1MB2", True, None, 1.5])
def test_what_is_no_size_says_how_to_write_one(text: object) -> None:
    with pytest.raises(ValueError, match="write it like 256MB"):
        size(text)  # type: ignore[arg-type]
