"""A note's properties: the YAML between the first `---` and the next.

YAML as Obsidian reads it (1.2): `yes` and `12:30` are text, not true and 750. What is not YAML is told and costs
nobody the note. References are expanded up to a bound, so that ten lines cannot become a gigabyte.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any, cast

import yaml

try:
    from yaml import CSafeLoader as _Base
except ImportError:  # PyYAML without its C library
    from yaml import SafeLoader as _Base  # type: ignore[assignment]

MOST_VALUES = 20_000
MOST_CHARS = 256_000
DEEPEST = 100
_SURELY_FLAT_CHARS = 2_000


class _Loader(_Base):
    """The core schema of YAML 1.2, and dates."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", "-+0123456789"),
    ("float", r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)$", "-+.0123456789"),
    ("float", r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", "-+."),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    (
        "timestamp",
        r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[Tt ][0-9:.]+(?:[ \t]*(?:Z|[-+][0-9:]+))?)?$",
        "0123456789",
    ),
    ("merge", r"^(?:<<)$", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def parse(text: str) -> tuple[dict[str, Any], str]:
    """The properties as JSON can hold them, and what is wrong with the text, if anything is."""
    if len(text) > MOST_CHARS:
        return {}, f"longer than {MOST_CHARS:,} characters"
    try:
        _refuse_abyss(text)
        found = yaml.load(text, _Loader)  # a safe loader: plain values only
        if found is None:
            return {}, ""
        if not isinstance(found, dict):
            return {}, "not a list of properties"
        return cast(dict[str, Any], _plain(found, [MOST_VALUES])), ""
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        return {}, f"{line}{error.problem or 'not YAML'}"
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError, TypeError) as error:
        return {}, " ".join(str(error).split())[:200] or type(error).__name__


def block_of(text: str) -> tuple[str, int]:
    """The text of the properties at the head of a note, and how many lines they take; ("", 0) without any.

    >>> block_of("---\\na: 1\\n---\\nrest")
    ('a: 1\\n', 3)
    """
    if not text.startswith("---"):
        return "", 0
    first, _, rest = text.partition("\n")
    if first.rstrip() != "---":
        return "", 0
    if rest.startswith("---") and rest.partition("\n")[0].rstrip() == "---":
        return "", 2
    at = rest.find("\n---")
    while at >= 0 and rest[at + 4 : at + 5] not in ("", "\n", " ", "\t"):
        at = rest.find("\n---", at + 1)
    if at < 0:
        return "", 0
    block = rest[: at + 1]
    return block, block.count("\n") + 2


def listed(value: Any) -> list[str]:
    """A property that is a list, or one value, or several in one text, as tags and aliases may be.

    >>> listed(["a", 1, None]), listed("a, b"), listed(None)
    (['a', '1'], ['a', 'b'], [])
    """
    if isinstance(value, str):
        return [part for each in value.split(",") if (part := each.strip())]
    if isinstance(value, list):
        return [text for each in value if each is not None and (text := str(each).strip())]
    return [] if value is None or isinstance(value, (dict, bool)) else [str(value)]


def aliases_of(properties: dict[str, Any]) -> list[str]:
    lower = {key.lower(): value for key, value in properties.items()}
    return list(dict.fromkeys([*listed(lower.get("aliases")), *listed(lower.get("alias"))]))


def tags_of(properties: dict[str, Any]) -> list[str]:
    lower = {key.lower(): value for key, value in properties.items()}
    found = [*listed(lower.get("tags")), *listed(lower.get("tag"))]
    # In one text they may stand with spaces between them.
    return [tag for each in found for part in each.split() if (tag := part.lstrip("#"))]


def texts(value: Any) -> Iterator[str]:
    """Every text in the properties: a link may stand in any."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, dict):
            waiting.extend(reversed(each.values()))
        elif isinstance(each, list):
            waiting.extend(reversed(each))


def _refuse_abyss(text: str) -> None:
    """The C library composes by recursion and without a bound: too deep a nesting would end the process."""
    if len(text) <= _SURELY_FLAT_CHARS:
        return
    depth = 0
    for event in yaml.parse(text, _Loader):
        if isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            depth += 1
            if depth > DEEPEST:
                raise ValueError(f"nested more than {DEEPEST} deep")
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            depth -= 1


def _plain(value: Any, left: list[int]) -> Any:
    left[0] -= 1
    if left[0] < 0:
        raise ValueError(f"more than {MOST_VALUES:,} values")
    if isinstance(value, dict):
        return {str(key): _plain(each, left) for key, each in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(each, left) for each in value]
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1 << 63:
        return str(value)
    return value
