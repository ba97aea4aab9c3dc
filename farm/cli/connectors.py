"""`farm connectors`: the kinds of system that can be read, and their options."""

from __future__ import annotations

from typing import Any

import click

from farm import registry
from farm.cli import show
from farm.cli.app import App, pass_app
from farm.cli.command import command, format_option


@command(examples=["farm connectors", "farm connectors local_files", "farm connectors command --format json"])
@click.argument("name", required=False)
@format_option
@pass_app
def connectors(app: App, name: str | None) -> None:
    """List the connectors; with NAME, the options of one."""
    if name is None:
        kinds = (
            show.Column("CONNECTOR", "name"),
            show.Column("STATE", lambda row: "ok" if row["ok"] else "broken"),
            show.Column("WHAT", "summary", wrap=True),
        )
        show.listing(map(_row, registry.names()), kinds, is_json=app.json, nothing="no connectors")
        return
    row = _row(name, strict=True)
    if app.json:
        show.as_json(row)
        return
    click.echo(f"{row['name']}: {row['summary']}\n")
    columns = (
        show.Column("OPTION", "name"),
        show.Column("TYPE", "type"),
        show.Column("DEFAULT", lambda option: "required" if option["required"] else option["default"]),
        show.Column("MEANS", "help", wrap=True),
    )
    show.table(row["options"], columns, nothing="it has no options")


def _row(name: str, strict: bool = False) -> dict[str, Any]:
    """What is known of a connector; one that cannot be loaded says why, or raises when strict."""
    import inspect
    import sys

    try:
        connector = registry.load(name)
    except ImportError as error:
        if strict:
            raise
        return {"name": name, "ok": False, "summary": str(error), "options": []}
    text = inspect.getdoc(connector) if connector.__doc__ else sys.modules[connector.__module__].__doc__
    return {
        "name": name,
        "ok": True,
        "summary": (text or "").strip().split("\n\n")[0].replace("\n", " "),
        "options": _options(connector.Options),
    }


def _options(model: Any) -> list[dict[str, Any]]:
    helps = _docstrings(model)
    found = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        found.append(
            {
                "name": field.alias or name,
                "type": getattr(kind, "__name__", str(kind))
                if not getattr(kind, "__args__", None)
                else str(kind),
                "required": field.is_required(),
                "default": None if field.is_required() else str(field.get_default(call_default_factory=True)),
                "help": field.description or helps.get(name, ""),
            }
        )
    return found


def _docstrings(model: Any) -> dict[str, str]:
    """The string below each field of a class, as its author wrote it."""
    import ast
    import inspect
    import textwrap

    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]
    except (OSError, TypeError, SyntaxError):
        return {}
    helps: dict[str, str] = {}
    field = ""
    for node in getattr(body, "body", []):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            field = node.target.id
        elif field and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            helps[field] = " ".join(str(node.value.value).split())
            field = ""
        else:
            field = ""
    return helps
