"""Any program as a source: what it prints on standard output, one JSON object a line, lands.

docs/connectors/command.md tells authors of programs what they may print and what their exit status means.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from pydantic import Field, ValidationInfo, field_validator, model_validator

from connectors._exits import ending
from connectors._printed import Printed, Step, own_version
from connectors._program import Program
from farm.connector import (
    Connector,
    Context,
    HoldsSecrets,
    Item,
    Listing,
    Options,
    Permanent,
    Unit,
    with_secrets,
)
from farm.lines import MAX_LINE_BYTES

GRACE_S = 5.0
Mode = Literal["stream", "units"]


class CommandOptions(Options):
    argv: list[str] = Field(min_length=1)
    """The program and its arguments; {state} and {config} stand for the paths of those files."""
    mode: Mode = "stream"
    cwd: Path | None = None
    """Where it runs; the folder of farm.toml by default."""
    env: Annotated[dict[str, str], HoldsSecrets()] = Field(default_factory=dict)
    """Added to its environment; a value "secret:NAME" is the secret of that name."""
    config: Annotated[dict[str, Any], HoldsSecrets()] = Field(default_factory=dict)
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
            "version": unit.version.removeprefix(own_version(Unit(unit.key, ""))),
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
        self._printed = Printed(ctx, step)

    def items(self, stdin: bytes) -> Iterator[Item]:
        program = self._start(stdin)
        try:
            for raw in program.lines():
                item = self._printed.item(raw)
                if item is not None:
                    yield item
        finally:
            program.close()
        if program.stopped:
            return  # what came is good, that the rest did not come is no error
        self._judge(program)
        if self._step == "extract":
            return
        # Only now: what a failing program listed is not all.
        complete = self._ctx.options.complete and self._ctx.paths is None
        yield self._printed.listing or Listing(complete=complete)

    def _start(self, stdin: bytes) -> Program:
        ctx, options = self._ctx, self._ctx.options
        problem = _what_is_missing(options)
        if problem:
            raise Permanent(problem)
        files = {
            "state": self._cursor if self._cursor is not None else {},
            "config": with_secrets(options.config, ctx.secret),
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
                alive=self._printed.alive,
                line_limit=min(MAX_LINE_BYTES, max(1 << 20, ctx.memory_bytes // 8)),
                grace_s=GRACE_S,
            )
        except OSError as error:
            raise Permanent(f"{argv[0]} cannot be started: {error.strerror or error}") from None

    def _judge(self, program: Program) -> None:
        """Raise what its exit status means."""
        name = Path(self._ctx.options.argv[0]).name
        if program.returncode:
            said = " / ".join(list(program.last_errors)[-3:])[-600:]
            error, meaning = ending(program.returncode, self._step)
            raise error(f"{name} {meaning}" + (f": {said}" if said else ""))
        printed = self._printed
        if printed.rejected and not printed.good:
            raise Permanent(
                f"{name} printed {printed.lines} lines and none could be used; {printed.first_fault}"
            )


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
    return {**inherited, **own, **with_secrets(ctx.options.env, ctx.secret)}
