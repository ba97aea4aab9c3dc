"""What a worker knows of secrets stays in it: nothing of it in messages, logs, tracebacks, titles, pages."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from farm import secrets
from farm.workers.redact import Redactor
from tests.workers.conftest import Bench

VALUE = 'p"ss w0rd/ü\\x'


@pytest.mark.parametrize(
    "text",
    [
        VALUE,
        f"https://example.org/?t={quote(VALUE, safe='')}",
        json.dumps({"x": VALUE}),
        repr({"x": VALUE}),
        "AUTH " + base64.b64encode(f"user:{VALUE}".encode()).decode(),
        "AUTH " + base64.b64encode(f"me:{VALUE}".encode()).decode(),
        "AUTH " + base64.b64encode(f"u:{VALUE}:more".encode()).decode(),
    ],
)
def test_a_known_value_is_masked_however_it_is_written(text: str) -> None:
    masked = Redactor([VALUE])(text)
    assert "***" in masked
    assert VALUE not in masked
    for piece in masked.split():
        try:
            assert VALUE[2:].encode() not in base64.b64decode(piece + "===")
        except ValueError:
            continue


def test_the_lines_of_a_key_are_masked_one_by_one() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0\nAnotherLineOfTheKey12345\n-----END KEY-----"
    assert "MIIEvQ" not in Redactor([key])("found MIIEvQIBADANBgkqhkiG9w0 in it")


def test_a_secret_from_the_state_folder_reaches_the_connector_and_nothing_else(tmp_path: Path) -> None:
    secrets.put("token", "s3cret-value", home=tmp_path)
    bench = Bench(tmp_path, cells=1)
    try:
        ending = bench.run("Raises", "bad", way="secret")["bad"]
        crashed = bench.run("Tells", "bad")["bad"]
    finally:
        bench.pool.close()
    assert ending is not None and ending.evidence is not None
    assert ending.message == "refused: ***"
    assert "using ***" in ending.evidence.log
    assert crashed is not None and crashed.evidence is not None
    assert "said ***" in crashed.evidence.log, "also what a worker printed before it died"
    assert not any(b"s3cret" in path.read_bytes() for path in (tmp_path / "spool").iterdir())
