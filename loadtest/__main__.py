"""`python -m loadtest`: run scenarios, report records again, compare with other queues."""

from __future__ import annotations

import json
import math
import signal
import sys
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console

from farm.errors import FarmError
from loadtest import record, report, scenario
from loadtest.page import page
from loadtest.page.comparison import comparison
from loadtest.peers import NAMES
from loadtest.scenario import Scenario
from loadtest.show import console, show

OUT = Path("loadtest-results")
QUICK_JOBS = 10_000
QUICK_S = 270.0


@click.group(invoke_without_command=True)
@click.pass_context
def main(context: click.Context) -> None:
    """Measure the farm on this machine."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@main.command()
@click.argument("names", nargs=-1)
@click.option("--out", type=click.Path(path_type=Path), default=OUT, help="Where records and reports go.")
def run(names: tuple[str, ...], out: Path) -> None:
    """Run scenarios (names, or TOML files; `all`: every one of ours but those that take an hour; without a name:
    noop), record them, write the reports and print them."""
    from loadtest.drive import drive

    for asked in _chosen(names or ("noop",)):
        click.echo(f"{asked.name}: {asked.about}", err=True)
        _report(drive(asked, out / f"{asked.name}.jsonl"))


@main.command("report")
@click.argument("records", nargs=-1, type=click.Path(exists=True, path_type=Path))
def report_again(records: tuple[Path, ...]) -> None:
    """Report records made before: printed, as JSON, and as a page with plots that a browser opens.

    A comparison's JSON becomes a page too.
    """
    for path in records:
        if path.suffix == ".json":
            path.with_suffix(".html").write_text(comparison(_compared(path)), encoding="utf-8")
            click.echo(f"page {path.with_suffix('.html')}", err=True)
        else:
            _report(path)


@main.command()
@click.option("--notes", default=10_000, help="Notes of the vault.")
@click.option("--files", default=1_000, help="Files of the repository.")
def sources(notes: int, files: int) -> None:
    """A vault and a repository: first run, nothing new, ten changes."""
    from loadtest.sources import measure

    for source, what, seconds, documents in measure(notes, files):
        click.echo(f"{source:<12} {what:<12} {seconds:8.2f} s   {documents:7,} documents")


@main.command()
@click.option("--jobs", default=40_000, help="No-op jobs of each layer in each turn.")
@click.option("--repetitions", default=5, help="Turns of each.")
@click.option("--out", type=click.Path(path_type=Path), default=OUT)
def floor(jobs: int, repetitions: int, out: Path) -> None:
    """What SQLite alone takes for a no-op job's rows, and what each layer of the farm process adds to it."""
    from loadtest import floor as floors
    from loadtest.drive import machine

    turns = floors.measure(jobs, repetitions, Console(stderr=True))
    found = floors.summary(turns)
    out.mkdir(parents=True, exist_ok=True)
    (out / "floor.json").write_text(json.dumps({"machine": machine(), "jobs": jobs, **found}, indent=2))
    floors.show(found, console())


@main.command("list")
def list_scenarios() -> None:
    """The scenarios that there are."""
    for name in scenario.names():
        found = scenario.load(name)
        only = "; only when it is named" if found.named_only else ""
        click.echo(f"{name:<11}{_duration(found.takes_s):>7}  {found.about} ({len(found.goals)} goals{only})")


@main.command()
@click.option(
    "--peers", default=",".join(NAMES), help="Which, separated by commas; the farm is always there."
)
@click.option("--works", default="no-op,real", help="Which: no-op, real, or both.")
@click.option("--workers", default=2, help="Worker processes of each.")
@click.option("--jobs", default=40_000, help="No-op jobs of the farm in each turn; a slower peer gets fewer.")
@click.option("--documents", default=2_000, help="Real documents to read in each turn; RQ gets a tenth.")
@click.option("--repetitions", default=7, help="Turns of each.")
@click.option("--patience", default=0.0, help="Seconds to wait before each turn for a quiet machine.")
@click.option(
    "--quick",
    is_flag=True,
    help="Three turns, fewer jobs; no turn that would not be over within five minutes.",
)
@click.option("--out", type=click.Path(path_type=Path), default=OUT)
def compare(
    peers: str,
    works: str,
    workers: int,
    jobs: int,
    documents: int,
    repetitions: int,
    patience: float,
    quick: bool,
    out: Path,
) -> None:
    """The same work through other queues and bare pools, in the same run. Exit code 1: one was left out."""
    from loadtest.compare import WORKS, Plan
    from loadtest.compare import compare as compared
    from loadtest.show_compare import show as show_comparison

    chosen = tuple(works.split(","))
    if wrong := set(chosen) - set(WORKS):
        raise click.UsageError(f"no such work: {', '.join(sorted(wrong))}")
    if wrong := set(peers.split(",")) - set(NAMES):
        raise click.UsageError(f"no such peer: {', '.join(sorted(wrong))}; there are {', '.join(NAMES)}")
    if quick:
        jobs, repetitions = min(jobs, QUICK_JOBS), min(repetitions, 3)
    names = tuple(dict.fromkeys(["farm", *peers.split(",")]))
    within_s = QUICK_S if quick else math.inf
    found = compared(Plan(names, chosen, workers, jobs, documents, repetitions, patience, within_s))
    out.mkdir(parents=True, exist_ok=True)
    (out / "compare.json").write_text(json.dumps(found, indent=2))
    (out / "compare.html").write_text(comparison(found), encoding="utf-8")
    show_comparison(found, console())
    sys.exit(1 if found["left_out"] else 0)


def _chosen(names: tuple[str, ...]) -> list[Scenario]:
    if names == ("all",):
        return [found for name in scenario.names() if not (found := scenario.load(name)).named_only]
    try:
        return [scenario.load(name) for name in names]
    except FarmError as error:
        raise click.ClickException(str(error)) from None


def _compared(path: Path) -> dict[str, Any]:
    """What a comparison wrote."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{path} cannot be read: {error}") from None
    if isinstance(found, dict) and "busy_before_cores" in found:
        return found
    if isinstance(found, dict) and "scenario" in found:
        raise click.ClickException(f"{path} is a report, not a record: give {path.with_suffix('.jsonl')}")
    raise click.ClickException(f"{path} is not the JSON of a comparison")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _report(path: Path) -> None:
    """Print it, and write it beside the record: JSON for programs, HTML for people."""
    try:
        found = record.Record.of(record.read(path))
    except OSError as error:
        raise click.ClickException(f"{path} cannot be read: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError):
        found = record.Record()
    if not found.meta:
        raise click.ClickException(f"{path} is not a record: a run writes one, NAME.jsonl")
    built = report.build(found)
    path.with_suffix(".json").write_text(json.dumps(built, indent=2))
    path.with_suffix(".html").write_text(page(found, built), encoding="utf-8")
    show(built, console())
    click.echo(
        f"record {path}, report {path.with_suffix('.json')}, page {path.with_suffix('.html')}", err=True
    )


if __name__ == "__main__":
    main()
