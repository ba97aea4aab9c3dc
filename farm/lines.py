"""The line protocol: one JSON object a line, told apart by `type`. Pure: bytes in, values out.

A line that does not parse is a `Malformed` value, not an exception: one bad line never costs the good ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from farm.connector import Line

MAX_LINE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Malformed:
    """A line that is not of the protocol; `why` is for a person."""

    why: str


_decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)
_encoder = msgspec.json.Encoder()


def clean(text: str) -> str:
    """Text that JSON and SQLite can hold: lone surrogates become U+FFFD, NUL goes.

    >>> clean("caf\\udce9\\x00")
    'caf\\ufffd'
    """
    if "\x00" in text:
        text = text.replace("\x00", "")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return (
            text.encode("utf-8", "surrogatepass")
            .decode("utf-8", "replace")
            .replace("\ufffd\ufffd\ufffd", "\ufffd")
        )
    return text


def encode(line: Line) -> bytes:
    """One line, newline included. Strings that UTF-8 cannot hold are cleaned."""
    try:
        return _encoder.encode(line) + b"\n"
    except UnicodeEncodeError:
        return _encoder.encode(_cleaned(msgspec.to_builtins(line))) + b"\n"


def decode(raw: bytes) -> Line | Malformed:
    """The value on this line."""
    if len(raw) > MAX_LINE_BYTES:
        return Malformed(f"longer than {MAX_LINE_BYTES} bytes")
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Malformed(str(error))


def decode_all(raw: bytes) -> Iterable[Line | Malformed]:
    """The values on these lines, of which the last one may have no end."""
    if raw.find(b"\n") in (-1, len(raw) - 1):
        return (decode(raw),)  # one line, as of most jobs: not copied, and nothing counted
    return map(decode, raw.removesuffix(b"\n").split(b"\n"))


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(str(k)): _cleaned(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_cleaned(v) for v in value]
    return value
