"""What every command shares: help with examples, commands loaded when called, `--format`."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])


class Command(click.Command):
    """A command with examples at the end of its help."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.examples = tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_examples(self.examples, formatter)


class Group(click.Group):
    """Commands of one noun."""

    command_class = Command

    def __init__(self, *args: Any, examples: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.examples = tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_examples(self.examples, formatter)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            close = difflib.get_close_matches(name, self.list_commands(ctx), n=2)
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            ctx.fail(f"There is no command {name!r}.{hint}")
        return super().resolve_command(ctx, args)


@dataclass(frozen=True, slots=True)
class Lazy:
    """A command in a module not imported yet; it has the name of the module's last part."""

    module: str
    help: str


class LazyGroup(Group):
    """A group whose help is known without importing its commands."""

    def __init__(self, *args: Any, sections: Mapping[str, Mapping[str, Lazy]], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.sections = sections
        self.lazy = {name: lazy for section in sections.values() for name, lazy in section.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        lazy = self.lazy.get(cmd_name)
        if lazy is None:
            return None
        module = importlib.import_module(lazy.module)
        command: click.Command = getattr(module, lazy.module.rpartition(".")[2])
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        widest = max(map(len, self.lazy))
        for title, commands in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(widest), lazy.help) for name, lazy in commands.items()])


def command(name: str | None = None, **settings: Any) -> Callable[[Callable[..., Any]], Command]:
    """A single command; give it `examples`."""
    return click.command(name, cls=Command, **settings)


def group(name: str | None = None, **settings: Any) -> Callable[[Callable[..., Any]], Group]:
    """A noun; give it `examples`."""
    return click.group(name, cls=Group, **settings)


def format_option(function: Function) -> Function:
    """`--format`, here or before the command; what is read is `app.format`."""
    return click.option(
        "--format",
        type=click.Choice(["table", "json"]),
        expose_value=False,
        callback=_set_format,
        help="Tables for people (the default), JSON for programs.",
    )(function)


def limit_option(function: Function) -> Function:
    """`--limit`; passes None for all."""
    return click.option(
        "--limit",
        type=click.IntRange(min=1),
        callback=_limit,
        metavar="N",
        help="Show at most N; else 50 in a table, all in JSON.",
    )(function)


def source_option(function: Function) -> Function:
    """`--source NAME`."""
    return click.option(
        "--source", metavar="NAME", shell_complete=complete_source, help="Only this source's."
    )(function)


def complete_source(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of the configured sources, for the shell."""
    from farm.cli.app import App, default_home

    root = ctx.find_root().params
    home = (root.get("home") or default_home()).expanduser()
    names = App(home, root.get("config") or home / "farm.toml").tables()
    return [name for name in names if name.startswith(incomplete)]


def _set_format(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    from farm.cli.app import App

    if value:
        ctx.ensure_object(App).format = value


def _limit(ctx: click.Context, param: click.Parameter, value: int | None) -> int | None:
    from farm.cli.app import App

    return 50 if value is None and ctx.ensure_object(App).format == "table" else value


def _write_examples(examples: Sequence[str], formatter: click.HelpFormatter) -> None:
    if examples:
        with formatter.section("Examples"):
            formatter.write("".join(f"  {example}\n" for example in examples))
