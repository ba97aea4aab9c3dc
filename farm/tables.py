"""What may stand in farm.toml: the edge, where pydantic checks it and errors become sentences."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeVar, get_args, get_origin
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictStr, ValidationError

from farm.core.job import Outcome
from farm.core.retry import CLASSES, Strategy
from farm.errors import did_you_mean
from farm.quantities import seconds, size

MAX_WORKERS = 32


def _duration(value: Any) -> float:
    found = seconds(value)
    if found <= 0:
        raise ValueError(f"{value!r} is too short: it must be more than 0")
    return found


def _every(value: Any) -> float:
    if _duration(value) < 1:
        raise ValueError(f"{value!r} is too short: it must be at least 1s")
    return seconds(value)


def _cron(value: Any) -> str:
    from farm.triggers import cron  # APScheduler takes its time to import

    if not isinstance(value, str):
        raise ValueError(f'{value!r} is not a cron expression: write one like "0 7 * * 1-5"')
    cron.parse(value)
    return value


def _timezone(value: Any) -> str:
    try:
        return ZoneInfo(value).key
    except (KeyError, ValueError, TypeError, OSError):
        raise ValueError(f"{value!r} is no time zone: write one like UTC or Europe/Berlin") from None


def _size(value: Any) -> int:
    found = size(value)
    if found < 1_000_000:
        raise ValueError(f"{value!r} is too small: write it like 256MB")
    return found


def _workers(value: Any) -> int:
    if value == "auto":
        return min(8, max(2, 2 * len(os.sched_getaffinity(0))))
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_WORKERS:
        raise ValueError(f'{value!r} must be "auto" or a number from 1 to {MAX_WORKERS}')
    return value


def _farm_cpu(value: Any) -> float | None:
    if value == "auto":
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise ValueError(f'{value!r} must be "auto" or a number of cores')
    return float(value)


def _farm_memory(value: Any) -> int | None:
    if value == "auto":
        return None
    if isinstance(value, str) and (share := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", value)):
        if not 0 < float(share[1]) <= 100:
            raise ValueError(f"{value!r} must be more than 0% and at most 100%")
        return int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * float(share[1]) / 100)
    try:
        return _size(value)
    except ValueError as error:
        raise ValueError(f'{error}, or "auto", or a share like 50%') from None


def _positive(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise ValueError(f"{value!r} must be a number more than 0")
    return float(value)


def _one_of(*allowed: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if value not in allowed:
            raise ValueError(f"{value!r} must be one of {', '.join(allowed)}{close_to(str(value), allowed)}")
        return value

    return check


Duration = Annotated[float, BeforeValidator(_duration)]
Size = Annotated[int, BeforeValidator(_size)]
Positive = Annotated[float, BeforeValidator(_positive)]
Count = Annotated[int, Field(ge=1, strict=True)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _port(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 65535:
        raise ValueError(f"{value!r} must be a port, from 1 to 65535 (0: any that is free)")
    return value


def _secret_names(value: Any) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise ValueError(
            f"{value!r} must be the name of a secret, or of two while one takes the other's place"
        )
    if not 1 <= len(names) <= 2:
        raise ValueError("name one secret, or two while one takes the other's place")
    return tuple(names)


class WebhooksTable(_Table):
    host: StrictStr = "127.0.0.1"
    port: Annotated[int, BeforeValidator(_port)] = 8787
    secrets: Annotated[tuple[str, ...], BeforeValidator(_secret_names)]
    max_body: Size = 26_000_000
    requests_per_second: Positive = 50.0
    burst: Count = 3_000


class FarmTable(_Table):
    workers: Annotated[int, BeforeValidator(_workers)] = Field("auto", validate_default=True)
    cpu: Annotated[float | None, BeforeValidator(_farm_cpu)] = None
    memory: Annotated[int | None, BeforeValidator(_farm_memory)] = None
    grace: Duration = 10.0
    webhooks: WebhooksTable | None = None


class SourceTable(_Table):
    connector: StrictStr
    every: Annotated[float | None, BeforeValidator(_every)] = None
    cron: Annotated[str | None, BeforeValidator(_cron)] = None
    timezone: Annotated[str, BeforeValidator(_timezone)] = "UTC"
    watch: StrictBool = False
    rescan: Duration | None = None
    priority: Annotated[str, BeforeValidator(_one_of("low", "normal", "high"))] = "normal"
    weight: Positive = 1.0
    options: dict[str, Any] = {}
    profile: dict[str, Any] = {}
    retry: dict[str, Any] = {}
    limits: dict[str, Any] = {}


class ProfileTable(_Table):
    cpu: Positive
    memory: Size
    memory_max: Size
    io: Annotated[str, BeforeValidator(_one_of("low", "medium", "high", "very_high"))]
    max_concurrent: Count
    max_concurrent_connector: Count
    timeout: Duration
    stall: Duration
    batch: Annotated[int, Field(ge=1, le=4096, strict=True)]
    nice: Annotated[int, Field(ge=0, le=19, strict=True)]


class LimitsTable(_Table):
    requests_per_second: Positive | None = None
    burst: Count = 1
    failures: Count = 5
    cool: Duration = 15.0
    cool_max: Duration = 900.0


class RetryFields(_Table):
    max_attempts: Count | None = None
    strategy: Annotated[str | None, BeforeValidator(_one_of(*Strategy))] = None
    base: Duration | None = None
    multiplier: Positive | None = None
    max: Duration | None = None
    jitter: Annotated[float, Field(ge=0, le=1)] | None = None


class RetryTable(RetryFields):
    class_: Annotated[str | None, BeforeValidator(_one_of(*CLASSES))] = Field(None, alias="class")
    max_deaths: Count | None = None
    max_losses: Count | None = None
    overrides: dict[Annotated[str, BeforeValidator(_one_of(*Outcome))], RetryFields] = {}


Model = TypeVar("Model", bound=BaseModel)


def validated(
    model: type[Model], raw: Any, place: str, errors: list[str], context: Mapping[str, Any] | None = None
) -> Model | None:
    if not isinstance(raw, dict):
        errors.append(f"{place}: must be a table, like [{place}]")
        return None
    try:
        return model.model_validate(raw, context=context)
    except ValidationError as error:
        errors.extend(_sentences(error, model, place))
        return None


def _sentences(error: ValidationError, model: type[BaseModel], place: str) -> Iterator[str]:
    for fault in error.errors(include_url=False):
        keys = [str(part) for part in fault["loc"] if part != "[key]"]
        where = ".".join([place, *keys])
        match fault["type"]:
            case "extra_forbidden":
                yield f"{where}: unknown key{close_to(keys[-1], _known(model, keys[:-1]))}"
            case "missing":
                yield f"{where}: is missing"
            case "value_error":
                yield f"{where}: {fault['ctx']['error']}"
            case _:
                said = fault["msg"]
                yield f"{where}: {said[:1].lower()}{said[1:]} (found {_shown(fault['input'])})"


def _known(model: Any, keys: Sequence[str]) -> list[str]:
    """The keys that may stand where an unknown one was found."""
    for key in keys:
        if get_origin(model) is dict:
            model = get_args(model)[1]
            continue
        field = getattr(model, "model_fields", {}).get(key)
        model = field.annotation if field else None
    fields = getattr(model, "model_fields", {})
    return [field.alias or name for name, field in fields.items()]


def close_to(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=2, cutoff=0.6)
    return did_you_mean(close) if close or not known else f"; known are {', '.join(known)}"


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
