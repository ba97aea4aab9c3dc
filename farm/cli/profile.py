"""`farm profile`: what a source's jobs may take, what they were measured to need."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from farm.cli import show
from farm.cli.app import App, pass_app
from farm.cli.command import complete_source, format_option, group
from farm.cli.sources import configured
from farm.ledger import views
from farm.words import size, span

WRITTEN = ("cpu", "memory", "timeout", "stall", "batch")
"""What a measurement fills in, as it stands in farm.toml."""


@group(examples=["farm profile show", "farm profile measure notes", "farm profile reset notes"])
def profile() -> None:
    """Show and measure what a source's jobs need."""


@profile.command("show", examples=["farm profile show", "farm profile show notes --format json"])
@click.argument("source", required=False, shell_complete=complete_source)
@format_option
@pass_app
def show_(app: App, source: str | None) -> None:
    """Show what is declared for SOURCE (or every source), and what is reserved by what was measured."""
    settings = app.settings()
    chosen = [configured(settings, source)] if source else list(settings.sources.values())
    db = views.connect(app.home)
    rows = [
        {
            "source": each.name,
            "connector": each.connector,
            "declared": asdict(each.profile),
            "measured": views.measured(db, each.name),
        }
        for each in chosen
    ]
    if app.json:
        show.as_json(rows if source is None else rows[0])
        return
    if not rows:
        click.echo("no sources yet", err=True)
    for number, row in enumerate(rows):
        if number:
            click.echo()
        _describe(row)


@profile.command(examples=["farm profile measure notes", "farm profile measure notes --samples 50 --dry-run"])
@click.argument("source", shell_complete=complete_source)
@click.option("--samples", default=20, show_default=True, type=click.IntRange(1, 1000), help="Units to read.")
@click.option("--dry-run", is_flag=True, help="Show what was measured, do not write it into farm.toml.")
@format_option
@pass_app
def measure(app: App, source: str, samples: int, dry_run: bool) -> None:
    """Read some units of SOURCE for trial, and write what they needed into farm.toml.

    Nothing else is kept of the trial.
    """
    from farm import trial

    settings = app.settings()
    found: dict[str, Any] = trial.measure(
        settings, configured(settings, source), samples=samples, home=app.home
    )
    fields = {key: found[key] for key in WRITTEN if key in found}
    if fields and not dry_run:
        _write(app, source, fields)
    if app.json:
        show.as_json(found)
        return
    _tell(source, found)
    if fields and not dry_run:
        click.echo(f"written to [sources.{source}.profile] in {app.config}", err=True)


@profile.command(examples=["farm profile reset notes"])
@click.argument("source", shell_complete=complete_source)
@format_option
@pass_app
def reset(app: App, source: str) -> None:
    """Forget what was measured of SOURCE: what is declared counts again, until new jobs were measured."""
    result = app.act("reset_profile", name=app.require_source(source))
    if app.json:
        show.as_json(result)
    else:
        click.echo(f"{source}: measurements forgotten")


def _write(app: App, source: str, fields: dict[str, Any]) -> None:
    import contextlib

    import tomlkit

    from farm import control
    from farm.cli import config_file
    from farm.errors import FarmNotRunning

    with config_file.edited(app.config) as document:
        table = config_file.source_table(document, source)
        if "profile" not in table:
            table.add("profile", tomlkit.table())
        table["profile"].update(fields)
    with contextlib.suppress(FarmNotRunning):
        control.call(app.home, "reload")


def _tell(source: str, found: dict[str, Any]) -> None:
    """What was measured, and what follows from it."""
    endings = ", ".join(f"{n} {outcome}" for outcome, n in found["outcomes"].items())
    pairs: list[tuple[str, object]] = [("source", source), ("tried", endings)]
    for stage, figures in found["measured"].items():
        wall, peak = figures["wall_s"], figures["memory_peak_bytes"]
        pairs.append(
            (
                stage,
                f"{span(wall['median'])} (at most {span(wall['max'])}),"
                f" {size(peak['median'])} (at most {size(peak['max'])})",
            )
        )
    for name, why in found["explanation"].items():
        pairs.append((name, f"{found[name]}: {why}" if name in found else why))
    show.fields(pairs)


def _describe(row: dict[str, Any]) -> None:
    declared = row["declared"]
    together = (
        f"{declared['max_concurrent']} at a time, {declared['max_concurrent_connector']} of the connector"
    )
    show.fields(
        [
            ("source", row["source"]),
            ("connector", row["connector"]),
            ("cpu", f"{declared['cpu']:g} cores"),
            ("memory", f"{size(declared['memory_bytes'])}, at most {size(declared['memory_max_bytes'])}"),
            ("io", declared["io"]),
            ("jobs", together),
            ("timeout", f"{span(declared['timeout_s'])}, {span(declared['stall_s'])} without a sign of life"),
            ("batch", f"up to {declared['batch']} jobs a launch"),
            ("niceness", declared["nice"]),
        ]
    )
    for stage in row["measured"]:
        click.echo(
            f"measured {stage['stage']}: reserves {stage['cpu']:.2f} cores and {size(stage['memory_bytes'])},"
            f" a job takes {span(stage['wall_s'])} ({stage['samples']} samples)"
        )
