"""docs/commands.md, made from the commands themselves: `python -m farm.cli.reference`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import click

from farm.cli import COMMANDS, farm

HEAD = """\
# Commands

Made from the commands themselves (`make docs`). The options `--home DIR` (or `FARM_HOME`), `--config FILE` and
`--format table|json` go before any command; `-h` after any of them prints its help.

Exit codes: 0 fine; 1 an error, said in one sentence on standard error; 2 wrong usage; 3 drained (or run to its
end with `--wait`) with jobs in quarantine; 130 cut short by Ctrl-C, also a drain that was told to stop. In JSON,
times are ISO 8601 in UTC and sizes are bytes.

With `--format json` an error, too, is one line of JSON on standard error, with the same exit code, and what was to be
printed on standard output is missing or cut short:

    {"error": {"kind": "unknown_source", "message": "there is no source 'nots'; did you mean notes?",
               "messages": ["there is no source 'nots'; did you mean notes?"], "exit_code": 1}}

`kind` is `usage` (wrong options), `farm_error`, `config_errors`, `unknown_source`, `unknown_connector`, `not_found`,
`not_possible`, `farm_running`, `farm_not_running`, `newer_schema`, `ledger_damaged`, `store_damaged`, `home_unusable`,
`disk_full`, `secret_missing`, `secret_refused`, `backup_unusable`, `no_cell`, `database`, `system` or `internal`.
`messages` has one sentence for each mistake in farm.toml; `message` is all of them.
"""


def every_command() -> Iterator[tuple[str, Any]]:
    """Each command that does something, by its full name."""
    root = click.Context(farm, info_name="farm")
    for name in farm.list_commands(root):
        command = farm.get_command(root, name)
        if isinstance(command, click.Group):
            for verb in command.list_commands(root):
                yield f"farm {name} {verb}", command.get_command(root, verb)
        else:
            yield f"farm {name}", command


def reference() -> str:
    """The whole page."""
    commands = list(every_command())
    parts = [HEAD]
    for title, names in COMMANDS.items():
        parts.append(f"## {title}\n")
        parts += [_entry(full, one) for full, one in commands if full.split()[1] in names]
    return "\n".join(parts)


def _entry(name: str, command: Any) -> str:
    arguments = [_argument(p) for p in command.params if isinstance(p, click.Argument)]
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    blocks = [
        f"### {name}",
        f"`{' '.join([name, *arguments])}`",
        _paragraphs(command.help or ""),
        "\n".join(f"- `{_option(option)}` {option.help}" for option in options),
        "\n".join(["```sh", *command.examples, "```"]),
    ]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _argument(argument: click.Argument) -> str:
    name = argument.metavar or (argument.name or "").upper()
    many = "..." if argument.nargs == -1 and "..." not in name else ""
    return f"{name}{many}" if argument.required or name.startswith("[") else f"[{name}]{many}"


def _option(option: click.Option) -> str:
    names = "/".join([*option.opts, *option.secondary_opts])
    if option.is_flag:
        return names
    kind = option.type
    value = "|".join(map(str, kind.choices)) if isinstance(kind, click.Choice) else option.metavar
    return f"{names} {value or kind.name.upper().removesuffix(' RANGE')}"


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


if __name__ == "__main__":
    sys.stdout.write(reference())
