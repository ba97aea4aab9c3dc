"""What a connector's author imports: the base class, what it yields, what it may raise.

A connector is a class with a name, a pydantic model of options, and three methods. It runs in a worker
process of its own, keeps no state between calls, and never sees the farm's databases:

    class Letters(Connector):
        name = "letters"

        class Options(BaseModel):
            path: Path

        def discover(self, ctx, cursor):
            for file in sorted(ctx.options.path.iterdir()):
                yield Unit(key=file.name, version=str(file.stat().st_mtime_ns))
            yield Listing(complete=True)

        def extract(self, ctx, unit):
            yield Document(key=unit.key, text=(ctx.options.path / unit.key).read_text())

What is yielded is also the line protocol (one JSON object a line, `type` first), spoken by spools and by
the programs of the `command` connector. It is a superset of Singer's: SCHEMA, RECORD, STATE, and DOCUMENT,
UNIT, GONE, LISTING, PROGRESS, LOG.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, Protocol, TypeVar, get_args

import msgspec
from pydantic import BaseModel, ConfigDict, StringConstraints
from pydantic.fields import FieldInfo


class _Line(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=True):
    """A line of the protocol."""


class Element(msgspec.Struct, frozen=True, omit_defaults=True):
    """A part of a document; `type` as unstructured.io names it: Title, NarrativeText, Table, ListItem …"""

    type: str
    text: str
    metadata: dict[str, Any] = {}


class Document(_Line, frozen=True, tag="DOCUMENT"):
    """A text that lands searchable. `key` is unique within the source; landing it again replaces it whole.

    Times are Unix seconds. `unit` is filled in by the farm: the unit it was extracted from.
    """

    key: str
    text: str = ""
    title: str = ""
    uri: str = ""
    mime: str = ""
    created_at: float | None = None
    modified_at: float | None = None
    metadata: dict[str, Any] = {}
    elements: list[Element] = []
    content_hash: str = ""


class Record(_Line, frozen=True, tag="RECORD"):
    """A row of a stream. No `key`: the stream's key properties make it, else a hash of the data."""

    stream: str
    record: dict[str, Any]
    key: str = ""
    deleted: bool = False


class Schema(_Line, frozen=True, tag="SCHEMA"):
    """Declares a stream and which of its properties are its key."""

    stream: str
    schema: dict[str, Any] = {}
    key_properties: list[str] = []


class State(_Line, frozen=True, tag="STATE"):
    """The cursor: opaque to the farm, landed with the content before it, given back at the next run."""

    value: Any


class Unit(_Line, frozen=True, tag="UNIT"):
    """Something extract can read. The farm drops it when the store already holds this key in this version.

    Two units of the same version, one of them gone, are a move: the documents are renamed, not read again.
    `data` is JSON for extract; the farm adds nothing to it. `uri` is where a person finds it.
    """

    key: str
    version: str
    data: dict[str, Any] = {}
    uri: str = ""


class Gone(_Line, frozen=True, tag="GONE"):
    """The unit of this key is no longer there; its documents become tombstones."""

    key: str


class Listing(_Line, frozen=True, tag="LISTING"):
    """Ends discover. Complete: whatever the store holds and this run did not list is gone.

    `unread`: except units whose keys begin so ("closed/"), since it could not be looked there.
    """

    complete: bool = False
    unread: list[str] = []


class Unchanged(_Line, frozen=True, tag="UNCHANGED"):
    """Extract found the content it had before (`held`): only the unit's version is noted."""

    key: str


class Progress(_Line, frozen=True, tag="PROGRESS"):
    done: int = 0
    total: int | None = None
    message: str = ""


class Log(_Line, frozen=True, tag="LOG"):
    message: str
    level: str = "info"


Line = Document | Record | Schema | State | Unit | Gone | Listing | Unchanged | Progress | Log
"""Everything that may stand on a line."""

Item = Document | Record | Schema | State | Unit | Gone | Listing | Unchanged | Progress | Log
"""What a connector yields. All lands but Progress (shown) and Log (goes to the job's log).

A Log of level "rejected" says that a line of the source's was not usable: it is counted and shown as such.
"""


class ConnectorError(Exception):
    """Raised by a connector; the message is one sentence for a person."""


class Transient(ConnectorError):
    """It may work later: the attempt is repeated by the retry policy."""


class RateLimited(Transient):
    """The other side asks for patience; costs no attempt."""

    def __init__(self, message: str = "rate limited", retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class SourceUnavailable(Transient):
    """The other side cannot be reached."""


class Permanent(ConnectorError):
    """It will not work again without somebody's help."""


class InvalidInput(ConnectorError):
    """This unit can never be read: broken, encrypted, empty, too large."""


class MissingDependency(ConnectorError):
    """A library or program that this connector needs is not installed."""


class Options(BaseModel):
    """Base of a connector's options: unknown names are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _NamesSecret:
    """Marks an option whose value is a secret's name."""


SecretName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"), _NamesSecret()]
"""The type of an option that names a secret, for `ctx.secret`; so `farm secrets list` knows who uses it."""


SECRET = "secret:"


class HoldsSecrets:
    """Marks an option, `Annotated[dict[str, str], HoldsSecrets()]`, in which each string "secret:NAME", however deep,
    stands for that secret: `with_secrets` puts them in."""


def with_secrets(value: Any, secret: Callable[[str], str]) -> Any:
    """The value with each string "secret:NAME" in it replaced by `secret(NAME)`.

    >>> with_secrets({"user": "ann", "login": ["secret:mail"]}, str.upper)
    {'user': 'ann', 'login': ['MAIL']}
    """
    match value:
        case str() if value.startswith(SECRET):
            return secret(value.removeprefix(SECRET))
        case dict():
            return {name: with_secrets(inner, secret) for name, inner in value.items()}
        case list() | tuple():
            return [with_secrets(inner, secret) for inner in value]
    return value


def secret_options(model: type[BaseModel]) -> list[str]:
    """The options that may name secrets: by a SecretName, or in what HoldsSecrets marks."""
    return [
        name for name, about in model.model_fields.items() if _names_secret(about) or _holds_secrets(about)
    ]


def secret_names(options: BaseModel) -> list[str]:
    """The secrets that these options name."""
    found: list[str] = []

    def note(name: str) -> str:
        found.append(name)
        return ""

    for option in secret_options(type(options)):
        value = getattr(options, option)
        if _holds_secrets(type(options).model_fields[option]):
            with_secrets(value, note)
        elif isinstance(value, str) and value:
            found.append(value)
    return list(dict.fromkeys(found))


def _holds_secrets(about: FieldInfo) -> bool:
    return any(isinstance(mark, HoldsSecrets) for mark in about.metadata)


def _names_secret(about: FieldInfo) -> bool:
    kinds = [about.annotation, *get_args(about.annotation)]
    marks = [*about.metadata, *(mark for kind in kinds for mark in getattr(kind, "__metadata__", ()))]
    return any(isinstance(mark, _NamesSecret) for mark in marks)


OptionsT = TypeVar("OptionsT", bound=BaseModel)
OptionsT_co = TypeVar("OptionsT_co", bound=BaseModel, covariant=True)


class Context(Protocol[OptionsT_co]):
    """What a connector is given with every call."""

    @property
    def options(self) -> OptionsT_co: ...
    @property
    def source(self) -> str: ...
    @property
    def scratch(self) -> Path:
        """A folder of this attempt's own, removed after it."""

    @property
    def cache(self) -> Path:
        """A folder of the source's own, kept from job to job and shared by those that run at once.

        For what would cost to fetch again. It may be gone at any time: nothing may depend on it but speed.
        """

    @property
    def log(self) -> logging.Logger: ...
    @property
    def stop_requested(self) -> bool:
        """True once the farm asks for an early end: finish the item at hand and return."""

    @property
    def held(self) -> str:
        """EXTRACT: content hash of what the store holds for this unit, or empty."""

    @property
    def ahead(self) -> Iterator[Unit]:
        """EXTRACT: the units that this worker is given next, in their order: what one request can bring together
        with this one may be kept for them. Whether they come is not promised."""

    @property
    def paths(self) -> list[str] | None:
        """DISCOVER: look only at these keys (an event run); None means everything."""

    @property
    def memory_bytes(self) -> int: ...
    @property
    def timeout_s(self) -> float: ...
    def secret(self, name: str) -> str:
        """The secret of this name; raises Permanent where there is none."""

    def throttle(self) -> bool:
        """Call it before each request to the other side: waits for its turn under `[sources.NAME.limits]`,
        all jobs of the source together. False: the farm asks for an early end; make no request and return."""

    def progress(self, done: int = 0, total: int | None = None, message: str = "") -> None:
        """Proof of life: resets the stall clock, and shows in `farm status`."""


class Connector(Generic[OptionsT]):
    """A plug-in that reads one kind of system. Subclass it and register it under `farm.connectors`."""

    name: ClassVar[str]
    Options: ClassVar[type[BaseModel]] = Options

    def check(self, ctx: Context[OptionsT]) -> str | None:
        """None when the source can be read; else one sentence that says what is wrong."""
        return None

    def discover(self, ctx: Context[OptionsT], cursor: Any) -> Iterator[Item]:
        """List what there is; may also yield content at once."""
        raise NotImplementedError

    def extract(self, ctx: Context[OptionsT], unit: Unit) -> Iterator[Item]:
        """Read one unit."""
        raise NotImplementedError

    def watch_path(self, options: OptionsT) -> Path | None:
        """The folder whose changes trigger event runs under `watch = true`; None where there is none."""
        return None

    def webhook_keys(self, options: OptionsT, event: str, payload: Mapping[str, Any]) -> list[str] | None:
        """The unit keys, for `ctx.paths`, that a webhook delivery is about; None when it is none of ours.

        Empty: it is ours and changes nothing that lands. Called in the farm's own process: pure, and quick.
        """
        return None

    def listens(self, options: OptionsT) -> bool:
        """Whether the other side can say by itself that something changed: `watch = true` then calls `listen`."""
        return False

    def listen(self, ctx: Context[OptionsT]) -> Iterator[str | None]:
        """Wait for the other side to say that something changed, and yield where, for `ctx.paths`; None: anywhere.

        Runs in a process of its own until `ctx.stop_requested`, and yields None first, once it can hear. What it
        yields is only a hint: `discover` finds out.
        """
        raise NotImplementedError

    def watch_key(self, options: OptionsT, path: Path) -> str | None:
        """The unit key of a changed path, for `ctx.paths`; None when it is none of ours."""
        return None
