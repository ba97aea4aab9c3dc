"""farm.toml, read and checked: `load(path)` gives frozen values, or every error at once.

pydantic stands at the edge; what has passed it is trusted. An error begins with its place
(`sources.notes.every: …`) and says what to write instead.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farm import registry
from farm.core.breaker import FusePolicy
from farm.core.job import Outcome, Priority
from farm.core.profile import Profile
from farm.core.retry import CLASSES, Override, RetryPolicy, Strategy
from farm.errors import ConfigErrors, UnknownConnector
from farm.tables import (
    FarmTable,
    LimitsTable,
    ProfileTable,
    RetryFields,
    RetryTable,
    SourceTable,
    close_to,
    validated,
)

RESCAN_S = 900.0
"""How often a watched source is listed in full all the same, unless it says otherwise."""


RECONCILE_S = 3600.0
"""How often a source that hears webhooks is listed all the same: a delivery that is missed is not sent again."""


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """The [farm.webhooks] table."""

    host: str
    port: int
    secrets: tuple[str, ...]
    """Names. Either is good: while one takes the other's place."""
    max_body_bytes: int
    per_s: float
    """Deliveries that one sender may make, and how many of them at once."""
    burst: int


@dataclass(frozen=True, slots=True)
class FarmSettings:
    """The [farm] table. None: as much as the machine gives."""

    workers: int
    cpu: float | None = None
    memory_bytes: int | None = None
    grace_s: float = 10.0
    webhooks: WebhookSettings | None = None
    """None: no listener."""


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
    """How often a watched source is listed in full all the same; None where `every` does, or nothing is watched."""
    priority: Priority
    weight: float
    options_json: str
    profile: Profile
    retry: RetryPolicy
    fuse: FusePolicy = field(default_factory=FusePolicy)
    requests_per_s: float = 0.0
    """How often its connector may ask the other side, all jobs together; 0: as often as it likes."""
    burst: int = 1


@dataclass(frozen=True, slots=True)
class Settings:
    farm: FarmSettings
    sources: dict[str, SourceSettings]
    config: Path
    text: str = ""
    """As it stands in the file."""

    def fallback(self, name: str) -> SourceSettings:
        """For what is left of a source that is no longer in farm.toml: all by default, nothing scheduled."""
        profile, retry = _profile("", {}, "", []), _retry("", {}, "", [])
        assert profile is not None
        assert retry is not None
        return _settled(name, SourceTable(connector="none"), "{}", profile, retry, LimitsTable())


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
        f"{key}: unknown table{close_to(key, ('farm', 'sources'))}"
        for key in raw
        if key not in ("farm", "sources")
    ]
    farm = validated(FarmTable, raw.get("farm", {}), "farm", errors)
    sources: dict[str, SourceSettings] = {}
    tables = raw.get("sources", {})
    if not isinstance(tables, dict):
        errors.append("sources: must be tables, like [sources.notes]")
        tables = {}
    for name, table in tables.items():
        source = _source(name, table, config.absolute().parent, errors)
        if source:
            if farm and farm.webhooks:
                source = _reconciled(source)
            sources[name] = source
    if errors or farm is None:
        raise ConfigErrors(errors, str(config))
    return Settings(
        FarmSettings(farm.workers, farm.cpu, farm.memory, farm.grace, _webhooks(farm)),
        sources,
        config=config.absolute(),
        text=text,
    )


def _webhooks(farm: FarmTable) -> WebhookSettings | None:
    table = farm.webhooks
    if table is None:
        return None
    return WebhookSettings(
        table.host, table.port, table.secrets, table.max_body, table.requests_per_second, table.burst
    )


def _reconciled(source: SourceSettings) -> SourceSettings:
    """With a schedule, where it hears webhooks and has none of its own."""
    from farm.connector import Connector

    hears = registry.load(source.connector).webhook_keys is not Connector.webhook_keys
    if not hears or source.every_s is not None or source.cron is not None:
        return source
    return dataclasses.replace(source, every_s=RECONCILE_S)


def _source(name: str, table: Any, folder: Path, errors: list[str]) -> SourceSettings | None:
    place = f"sources.{name}"
    before = len(errors)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        errors.append(f"{place}: a source's name has letters, digits, _ - and . only, at most 64")
    found = validated(SourceTable, table, place, errors)
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
    limits = _limits(known, table.get("limits", {}), f"{place}.limits", errors)
    errors.extend(_clashes(table, place))
    if table.get("watch") is True and not watched:
        errors.append(f"{place}.watch: the connector {known!r} has nothing to watch; use every or cron")
    if len(errors) > before or found is None or profile is None or retry is None or limits is None:
        return None
    return _settled(name, found, options, profile, retry, limits)


def _settled(
    name: str, found: SourceTable, options: str, profile: Profile, retry: RetryPolicy, limits: LimitsTable
) -> SourceSettings:
    return SourceSettings(
        name=name,
        connector=found.connector,
        every_s=found.every,
        cron=found.cron,
        timezone=found.timezone,
        watch=found.watch,
        rescan_s=_rescan_s(found),
        priority=Priority[found.priority.upper()],
        weight=found.weight,
        options_json=options,
        profile=profile,
        retry=retry,
        fuse=FusePolicy(limits.failures, limits.cool, max_s=max(limits.cool, limits.cool_max)),
        requests_per_s=limits.requests_per_second or 0.0,
        burst=limits.burst,
    )


def _rescan_s(source: SourceTable) -> float | None:
    if not source.watch:
        return None
    often_enough = source.every is not None and source.every <= RESCAN_S
    return source.rescan or (None if often_enough else RESCAN_S)


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
    options = validated(connector.Options, raw, f"{place}.options", errors, context={"folder": folder})
    if options is None:
        return "{}", True
    as_json = options.model_dump_json(exclude_unset=True, by_alias=True)
    made = connector()
    return as_json, made.watch_path(options) is not None or made.listens(options)


def _profile(connector: str, own: Any, place: str, errors: list[str]) -> Profile | None:
    own = own if isinstance(own, dict) else {}
    table = {**registry.profile_of(connector)["profile"], **own}
    found = validated(ProfileTable, table, place, errors)
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


def _limits(connector: str, own: Any, place: str, errors: list[str]) -> LimitsTable | None:
    own = own if isinstance(own, dict) else {}
    return validated(LimitsTable, {**registry.profile_of(connector)["limits"], **own}, place, errors)


def _retry(connector: str, own: Any, place: str, errors: list[str]) -> RetryPolicy | None:
    own = own if isinstance(own, dict) else {}
    table = registry.layered_retry(registry.profile_of(connector)["retry"], own)
    found = validated(RetryTable, table, place, errors)
    if found is None:
        return None
    policy = CLASSES[found.class_ or "conservative"]
    fields = _retry_fields(found)
    fields |= {
        key: value for key in ("max_deaths", "max_losses") if (value := getattr(found, key)) is not None
    }
    if "base_s" in fields and "max_s" not in fields:
        fields["max_s"] = max(
            policy.max_s, fields["base_s"]
        )  # the class's maximum was meant for its own base
    overrides = {Outcome(outcome): Override(**_retry_fields(own)) for outcome, own in found.overrides.items()}
    return dataclasses.replace(policy, **fields, overrides={**policy.overrides, **overrides})


def _retry_fields(found: RetryFields) -> dict[str, Any]:
    names = {"base": "base_s", "max": "max_s"}
    return {
        names.get(key, key): Strategy(value) if key == "strategy" else value
        for key in RetryFields.model_fields
        if (value := getattr(found, key)) is not None
    }


def _clashes(table: Mapping[str, Any], place: str) -> Iterator[str]:
    if "every" in table and "cron" in table:
        yield f"{place}.cron: every and cron exclude each other; write one of them"
    if "rescan" in table and table.get("watch") is not True:
        yield f"{place}.rescan: only goes with watch = true; use every"


def _syntax(message: str) -> str:
    """
    >>> _syntax("Invalid value (at line 3, column 5)")
    'line 3, column 5: invalid value'
    """
    found = re.fullmatch(r"(.*) \(at (.*)\)", message, re.DOTALL)
    what, where = (found[1], found[2]) if found else (message, "")
    return f"{where}: {what[:1].lower()}{what[1:]}" if where else what
