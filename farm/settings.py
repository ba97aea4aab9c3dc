"""farm.toml, read and checked: `load(path)` gives frozen values, or every error at once.

pydantic stands at the edge; what has passed it is trusted. An error begins with its place
(`sources.notes.every: …`) and says what to write instead.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictStr, ValidationError

from farm import registry
from farm.core.job import Outcome, Priority
from farm.core.profile import Profile
from farm.core.retry import CLASSES, RetryPolicy
from farm.errors import ConfigErrors, UnknownConnector, did_you_mean
from farm.quantities import seconds, size

RESCAN_S = 900.0
MAX_WORKERS = 32


@dataclass(frozen=True, slots=True)
class FarmSettings:
    """The [farm] table. None: as much as the machine gives."""

    workers: int
    cpu: float | None = None
    memory_bytes: int | None = None
    grace_s: float = 10.0


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """One [sources.NAME] table, profile and retry policy resolved."""

    name: str
    connector: str
    every_s: float | None
    cron: str | None
    timezone: str
    watch: bool
    rescan_s: float | None
    """How often a watched source is listed in full all the same; None where nothing is watched."""
    priority: Priority
    weight: float
    options_json: str
    profile: Profile
    retry: RetryPolicy


@dataclass(frozen=True, slots=True)
class Settings:
    farm: FarmSettings
    sources: dict[str, SourceSettings]
    config: Path


def load(config: Path) -> Settings:
    """The settings in this file; raises ConfigErrors with everything that is wrong with it."""
    try:
        text = config.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigErrors(
            [f"{config} does not exist: make one with `farm init`, or `farm add FOLDER`"]
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigErrors([f"{config} is not UTF-8 text (byte {error.start})"]) from None
    except OSError as error:
        raise ConfigErrors([f"{config} cannot be read: {error.strerror}"]) from None
    return parse(text, config)


def parse(text: str, config: Path) -> Settings:
    """The settings in this text; relative paths in it are meant from the folder of `config`."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigErrors([_syntax(str(error))], str(config)) from None
    errors: list[str] = [
        f"{key}: unknown table{_close(key, ('farm', 'sources'))}"
        for key in raw
        if key not in ("farm", "sources")
    ]
    farm = _validated(_Farm, raw.get("farm", {}), "farm", errors)
    sources: dict[str, SourceSettings] = {}
    tables = raw.get("sources", {})
    if not isinstance(tables, dict):
        errors.append("sources: must be tables, like [sources.notes]")
        tables = {}
    for name, table in tables.items():
        source = _source(name, table, config.absolute().parent, errors)
        if source:
            sources[name] = source
    if errors or farm is None:
        raise ConfigErrors(errors, str(config))
    return Settings(
        FarmSettings(farm.workers, farm.cpu, farm.memory, farm.grace), sources, config=config.absolute()
    )


# The edge: what may stand in the file.


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
            raise ValueError(f"{value!r} must be one of {', '.join(allowed)}{_close(str(value), allowed)}")
        return value

    return check


Duration = Annotated[float, BeforeValidator(_duration)]
Size = Annotated[int, BeforeValidator(_size)]
Positive = Annotated[float, BeforeValidator(_positive)]
Count = Annotated[int, Field(ge=1, strict=True)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Farm(_Table):
    workers: Annotated[int, BeforeValidator(_workers)] = Field("auto", validate_default=True)  # type: ignore[assignment]
    cpu: Annotated[float | None, BeforeValidator(_farm_cpu)] = None
    memory: Annotated[int | None, BeforeValidator(_farm_memory)] = None
    grace: Duration = 10.0


class _Source(_Table):
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


class _Profile(_Table):
    cpu: Positive
    memory: Size
    memory_max: Size
    io: Annotated[str, BeforeValidator(_one_of("low", "medium", "high", "very_high"))]
    max_concurrent: Count
    max_concurrent_connector: Count
    timeout: Duration
    stall: Duration
    batch: Annotated[int, Field(ge=1, le=1024, strict=True)]
    nice: Annotated[int, Field(ge=0, le=19, strict=True)]


class _RetryFields(_Table):
    max_attempts: Count | None = None
    strategy: Annotated[
        str | None, BeforeValidator(_one_of("exponential", "linear", "fixed", "immediate", "none"))
    ] = None
    base: Duration | None = None
    multiplier: Positive | None = None
    max: Duration | None = None
    jitter: Annotated[float, Field(ge=0, le=1)] | None = None


class _Retry(_RetryFields):
    class_: Annotated[str | None, BeforeValidator(_one_of(*CLASSES))] = Field(None, alias="class")
    max_deaths: Count | None = None
    max_losses: Count | None = None
    overrides: dict[Annotated[str, BeforeValidator(_one_of(*Outcome))], _RetryFields] = {}


def _source(name: str, table: Any, folder: Path, errors: list[str]) -> SourceSettings | None:
    place = f"sources.{name}"
    before = len(errors)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        errors.append(f"{place}: a source's name has letters, digits, _ - and . only, at most 64")
    found = _validated(_Source, table, place, errors)
    if not isinstance(table, dict):
        return None
    # Checked even when the rest is wrong, so that one look shows all.
    connector = table.get("connector")
    known = connector if isinstance(connector, str) else ""
    options, watched = (
        _options(known, table.get("options", {}), folder, place, errors) if known else ("{}", True)
    )
    profile = _profile(known, table.get("profile", {}), f"{place}.profile", errors)
    retry = _retry(known, table.get("retry", {}), f"{place}.retry", errors)
    errors.extend(_clashes(table, place))
    if table.get("watch") is True and not watched:
        errors.append(f"{place}.watch: the connector {known!r} has no folder to watch; use every or cron")
    if len(errors) > before or found is None or profile is None or retry is None:
        return None
    return SourceSettings(
        name=name,
        connector=found.connector,
        every_s=found.every,
        cron=found.cron,
        timezone=found.timezone,
        watch=found.watch,
        rescan_s=(found.rescan or RESCAN_S) if found.watch else None,
        priority=Priority[found.priority.upper()],
        weight=found.weight,
        options_json=options,
        profile=profile,
        retry=retry,
    )


def _options(name: str, raw: Any, folder: Path, place: str, errors: list[str]) -> tuple[str, bool]:
    """The options as JSON, and whether the connector has something to watch with them."""
    try:
        connector = registry.load(name)
    except UnknownConnector as error:
        errors.append(f"{place}.connector: {error}")
        return "{}", True
    except ImportError as error:
        errors.append(f"{place}.connector: {name!r} cannot be loaded: {error}")
        return "{}", True
    options = _validated(connector.Options, raw, f"{place}.options", errors, context={"folder": folder})
    if options is None:
        return "{}", True
    as_json = options.model_dump_json(exclude_unset=True, by_alias=True)
    return as_json, connector().watch_path(options) is not None


def _profile(connector: str, own: Any, place: str, errors: list[str]) -> Profile | None:
    own = own if isinstance(own, dict) else {}
    table = {**registry.profile_of(connector)["profile"], **own}
    found = _validated(_Profile, table, place, errors)
    if found is None:
        return None
    if found.memory > found.memory_max and {"memory", "memory_max"} <= own.keys():
        errors.append(f"{place}.memory_max: must not be less than memory")
        return None
    return Profile(
        cpu=found.cpu,
        memory_bytes=min(found.memory, found.memory_max) if "memory_max" in own else found.memory,
        memory_max_bytes=found.memory_max if "memory_max" in own else max(found.memory, found.memory_max),
        io=found.io,
        max_concurrent=found.max_concurrent,
        max_concurrent_connector=found.max_concurrent_connector,
        timeout_s=found.timeout,
        stall_s=found.stall,
        batch=found.batch,
        nice=found.nice,
    )


def _retry(connector: str, own: Any, place: str, errors: list[str]) -> RetryPolicy | None:
    own = own if isinstance(own, dict) else {}
    found = _validated(
        _Retry, registry.layered_retry(registry.profile_of(connector)["retry"], own), place, errors
    )
    if found is None:
        return None
    policy = CLASSES[found.class_ or "conservative"]
    fields = _retry_fields(found)
    fields |= {
        key: value for key in ("max_deaths", "max_losses") if (value := getattr(found, key)) is not None
    }
    overrides = {
        **policy.overrides,
        **{Outcome(outcome): _retry_fields(partial) for outcome, partial in found.overrides.items()},
    }
    return dataclasses.replace(policy, **fields, overrides=overrides)


def _retry_fields(found: _RetryFields) -> dict[str, Any]:
    names = {"base": "base_s", "max": "max_s"}
    return {
        names.get(key, key): value
        for key in _RetryFields.model_fields
        if (value := getattr(found, key)) is not None
    }


def _clashes(table: Mapping[str, Any], place: str) -> Iterator[str]:
    if "every" in table and "cron" in table:
        yield f"{place}.cron: every and cron exclude each other; write one of them"
    if "rescan" in table and table.get("watch") is not True:
        yield f"{place}.rescan: only goes with watch = true; use every"


# Errors as sentences.

Model = TypeVar("Model", bound=BaseModel)


def _validated(
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
                yield f"{where}: unknown key{_close(keys[-1], _known(model, keys[:-1]))}"
            case "missing":
                yield f"{where}: is missing"
            case "value_error":
                yield f"{where}: {fault['ctx']['error']}"
            case _:
                yield f"{where}: {fault['msg'][:1].lower()}{fault['msg'][1:]} (found {_shown(fault['input'])})"


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


def _close(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=2, cutoff=0.6)
    return did_you_mean(close) if close or not known else f"; known are {', '.join(known)}"


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _syntax(message: str) -> str:
    """
    >>> _syntax("Invalid value (at line 3, column 5)")
    'line 3, column 5: invalid value'
    """
    found = re.fullmatch(r"(.*) \(at (.*)\)", message, re.DOTALL)
    what, where = (found[1], found[2]) if found else (message, "")
    return f"{where}: {what[:1].lower()}{what[1:]}" if where else what
