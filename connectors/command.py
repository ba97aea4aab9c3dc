"""Any program as a source: what it prints on standard output, one JSON object a line, lands.

docs/connectors/command.md tells authors of programs what they may print and what their exit status means.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec
from pydantic import Field, ValidationInfo, field_validator, model_validator

from connectors._program import Program, TooLong
from farm.connector import (
    Connector,
    ConnectorError,
    Context,
    Document,
    Gone,
    InvalidInput,
    Item,
    Line,
    Listing,
    Log,
    Options,
    Permanent,
    Progress,
    Record,
    Schema,
    SourceUnavailable,
    State,
    Transient,
    Unchanged,
    Unit,
)
from farm.lines import MAX_LINE_BYTES, Malformed, decode

GRACE_S = 5.0
SECRET = "secret:"
IGNORED = {"ACTIVATE_VERSION"}
"""Singer's message that older versions of a table's rows are void: rows are replaced by their keys here."""

Mode = Literal["stream", "units"]
Step = Literal["stream", "discover", "extract"]

ALLOWED: dict[Step, tuple[type[Line], ...]] = {
    "stream": (Document, Record, Schema, State, Gone, Listing),
    "discover": (Document, Record, Schema, State, Unit, Gone, Listing),
    "extract": (Document, Record, Schema, Unchanged),
}


class CommandOptions(Options):
    argv: list[str] = Field(min_length=1)
    """The program and its arguments; {state} and {config} stand for the paths of those files."""
    mode: Mode = "stream"
    cwd: Path | None = None
    """Where it runs; the folder of farm.toml by default."""
    env: dict[str, str] = Field(default_factory=dict)
    """Added to its environment; a value "secret:NAME" is the secret of that name."""
    config: dict[str, Any] = Field(default_factory=dict)
    """What the file {config} holds, as JSON; strings "secret:NAME" as in env."""
    complete: bool = False
    """An exit status of 0 means that everything there is was printed: what was not is gone."""

    @model_validator(mode="before")
    @classmethod
    def _from_the_folder_of_farm_toml(cls, data: Any, info: ValidationInfo) -> Any:
        folder = (info.context or {}).get("folder")
        if isinstance(data, dict) and folder is not None:
            cwd = data.get("cwd") or "."
            return {**data, "cwd": Path(folder, Path(cwd).expanduser()) if isinstance(cwd, str) else cwd}
        return data

    @field_validator("argv")
    @classmethod
    def _names_a_program(cls, argv: list[str]) -> list[str]:
        if not argv[0].strip():
            raise ValueError("the first of argv must name a program")
        if any("\x00" in argument for argument in argv):
            raise ValueError("argv cannot hold a NUL character")
        return argv


class Command(Connector[CommandOptions]):
    name: ClassVar[str] = "command"
    Options = CommandOptions

    def check(self, ctx: Context[CommandOptions]) -> str | None:
        return _what_is_missing(ctx.options)

    def discover(self, ctx: Context[CommandOptions], cursor: Any) -> Iterator[Item]:
        if ctx.options.mode == "stream":
            yield from _Call(ctx, "stream", cursor).items(b"")
            return
        asked = msgspec.json.encode({"state": cursor, "paths": ctx.paths})
        yield from _Call(ctx, "discover", cursor).items(asked)

    def extract(self, ctx: Context[CommandOptions], unit: Unit) -> Iterator[Item]:
        given = {
            "type": "UNIT",
            "key": unit.key,
            "version": unit.version.removeprefix(_own_version(Unit(unit.key, ""))),
            "data": unit.data,
            "uri": unit.uri,
            "held": ctx.held,
        }
        asked = msgspec.json.encode(given)
        yield from _Call(ctx, "extract", None).items(asked)


class _Call:
    """One run of the program, from its start to its exit status."""

    def __init__(self, ctx: Context[CommandOptions], step: Step, cursor: Any) -> None:
        self._ctx, self._step, self._cursor = ctx, step, cursor
        self._number = self._good = self._rejected = 0
        self._first_fault = ""
        self._listing: Listing | None = None
        self._progress = Progress()

    def items(self, stdin: bytes) -> Iterator[Item]:
        program = self._start(stdin)
        try:
            for raw in program.lines():
                self._number += 1
                item = self._item(raw)
                if item is not None:
                    yield item
        finally:
            program.close()
        if program.stopped:
            return  # what came is good, that the rest did not come is no error
        self._judge(program)
        if self._step == "extract":
            return
        complete = self._ctx.options.complete and self._ctx.paths is None
        yield self._listing or Listing(
            complete=complete
        )  # only now: what a failing program listed is not all

    def _item(self, raw: bytes | TooLong) -> Item | None:
        if isinstance(raw, TooLong):
            return self._reject(f"longer than the limit ({raw.bytes} bytes)")
        if not raw.strip():
            return None
        match decode(raw):
            case Malformed(why):
                return self._other(raw, why)
            case Progress() as progress:
                self._progress = progress
                self._ctx.progress(progress.done, progress.total, progress.message)
            case Log(message=message, level=level):
                number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
                self._ctx.log.log(number, "%s", message[:4000])
            case line if not isinstance(line, ALLOWED[self._step]):
                return self._reject(f"{_tag(line)} does not belong into {_where(self._step)}")
            case Listing() as listing:
                self._listing = listing
            case line if fault := _fault(line):
                return self._reject(fault)
            case Unit() as unit:
                self._good += 1
                return msgspec.structs.replace(unit, version=_own_version(unit))
            case Record() as record:
                self._good += 1
                gone = record.record.get("_sdc_deleted_at") is not None
                return msgspec.structs.replace(record, deleted=True) if gone else record
            case line:
                self._good += 1
                return line
        return None

    def _other(self, raw: bytes, why: str) -> Item | None:
        """A line that is not of our protocol: Singer has some that we may pass over."""
        try:
            tag = msgspec.json.decode(raw, type=_Tagged).type
        except (msgspec.DecodeError, UnicodeDecodeError):
            return self._reject(f"{why}: {raw[:120].decode('utf-8', 'replace')}")
        if tag in IGNORED:
            return None
        if tag == "BATCH":
            return self._reject("BATCH files are not read: configure the tap to print RECORD lines")
        return self._reject(f"{why}: {raw[:120].decode('utf-8', 'replace')}")

    def _reject(self, why: str) -> Item:
        self._rejected += 1
        message = f"line {self._number}: {why}"
        self._first_fault = self._first_fault or message
        return Log(level="rejected", message=message)

    def _start(self, stdin: bytes) -> Program:
        ctx, options = self._ctx, self._ctx.options
        problem = _what_is_missing(options)
        if problem:
            raise Permanent(problem)
        files = {
            "state": self._cursor if self._cursor is not None else {},
            "config": _filled(ctx, options.config),
        }
        for name, content in files.items():
            path = ctx.scratch / f"{name}.json"
            path.touch(mode=0o600)
            path.write_bytes(msgspec.json.encode(content))
        argv = [_placed(argument, ctx.scratch) for argument in options.argv]
        try:
            return Program(
                argv if self._step == "stream" else [*argv, self._step],
                cwd=options.cwd,
                env=_environment(ctx),
                stdin=stdin,
                on_error_line=lambda text: ctx.log.info("%s", text),
                stop_requested=lambda: ctx.stop_requested,
                alive=self._alive,
                line_limit=min(MAX_LINE_BYTES, max(1 << 20, ctx.memory_bytes // 8)),
                grace_s=GRACE_S,
            )
        except OSError as error:
            raise Permanent(f"{argv[0]} cannot be started: {error.strerror or error}") from None

    def _alive(self) -> None:
        """Any output is a proof of life; keeps the figures the program gave, else counts what it printed."""
        told = self._progress
        if told.done or told.total:
            self._ctx.progress(told.done, told.total, told.message)
        else:
            self._ctx.progress(self._good, None, told.message)

    def _judge(self, program: Program) -> None:
        """Raise what its exit status means."""
        name = Path(self._ctx.options.argv[0]).name
        if program.returncode:
            said = " / ".join(list(program.last_errors)[-3:])[-600:]
            error, meaning = ending(program.returncode, self._step)
            raise error(f"{name} {meaning}" + (f": {said}" if said else ""))
        if self._rejected and not self._good:
            raise Permanent(
                f"{name} printed {self._number} lines and none could be used; {self._first_fault}"
            )


class _Tagged(msgspec.Struct):
    type: str


def ending(status: int, step: str = "stream") -> tuple[type[ConnectorError], str]:
    """What a program's exit status other than 0 means: an error class and words for it (see sysexits.h).

    >>> ending(75)[0].__name__, ending(-9)
    ('Transient', (<class 'farm.connector.Transient'>, 'was killed by SIGKILL'))
    """
    if status < 0:
        return Transient, f"was killed by {_signal_name(-status)}"
    if status > 128 and status - 128 in list(signal.Signals):  # a shell says so of its child
        return Transient, f"exited with status {status} (killed by {_signal_name(status - 128)})"
    error: type[ConnectorError] = Transient
    match status:
        case 65:
            error = InvalidInput
        case 66 if step == "extract":
            error = InvalidInput
        case 64 | 66 | 77 | 78 | 126 | 127:
            error = Permanent
        case 69:
            error = SourceUnavailable
    meaning = _MEANINGS.get(status)
    return error, f"exited with status {status}" + (f" ({meaning})" if meaning else "")


_MEANINGS = {
    64: "used wrongly",
    65: "bad input",
    66: "no input",
    69: "service unavailable",
    75: "temporary failure",
    77: "permission denied",
    78: "wrong configuration",
    126: "cannot be executed",
    127: "program not found",
}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _what_is_missing(options: CommandOptions) -> str | None:
    """A sentence when the program cannot be started from here."""
    if options.cwd is not None and not options.cwd.is_dir():
        return f"the folder {options.cwd} (cwd) does not exist"
    program = options.argv[0]
    path = options.env.get("PATH", os.environ.get("PATH", os.defpath))
    if os.sep not in program:
        if shutil.which(program, path=path) is None:
            return f"there is no program {program!r} in PATH"
        return None
    file = Path(options.cwd or ".", program)
    if not file.is_file():
        return f"there is no program {file}"
    if not os.access(file, os.X_OK):
        return f"{file} is not executable: run `chmod +x` on it, or name its interpreter first in argv"
    return None


def _placed(argument: str, scratch: Path) -> str:
    for name in ("state", "config"):
        argument = argument.replace("{" + name + "}", str(scratch / f"{name}.json"))
    return argument


def _environment(ctx: Context[CommandOptions]) -> dict[str, str]:
    """The worker's, without the farm's secrets, with what the options add."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FARM_SECRET_")}
    own = {
        "FARM_SOURCE": ctx.source,
        "FARM_SCRATCH": str(ctx.scratch),
        "FARM_STATE": str(ctx.scratch / "state.json"),
    }
    return {**inherited, **own, **_filled(ctx, ctx.options.env)}


def _filled(ctx: Context[CommandOptions], value: Any) -> Any:
    """The same value with every string "secret:NAME" replaced by that secret."""
    if isinstance(value, str) and value.startswith(SECRET):
        return ctx.secret(value.removeprefix(SECRET))
    if isinstance(value, dict):
        return {name: _filled(ctx, inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_filled(ctx, inner) for inner in value]
    return value


def _fault(line: Line) -> str:
    """What such a line lacks."""
    match line:
        case Document(key="") | Unit(key="") | Gone(key="") | Unchanged(key=""):
            return f"{_tag(line)} without a key"
        case Record(stream="") | Schema(stream=""):
            return f"{_tag(line)} without a stream"
        case Unit(version=""):
            return "UNIT without a version"
    return ""


def _own_version(unit: Unit) -> str:
    """The unit's version with its key before it.

    The farm takes a new unit of a gone one's version for the same, moved. That suits versions which nothing
    else can have; those of a stranger's program may as well be 1, 2, 3.
    """
    return f"{unit.key}@{unit.version}"


def _tag(line: Line) -> str:
    return str(type(line).__struct_config__.tag)


def _where(step: Step) -> str:
    return 'mode "stream"' if step == "stream" else f"the answer to {step}"
