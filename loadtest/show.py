"""The report for a person at a terminal."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from loadtest.report import whose_goals

WIDTH = 120
"""Where no terminal says how wide it is."""
BARS = " ▁▂▃▄▅▆▇█"


def console() -> Console:
    found = Console()
    return found if found.is_terminal else Console(width=WIDTH)


def show(report: dict[str, Any], console: Console) -> None:
    machine = report["machine"]
    console.print(f"\n[bold]{report['scenario']}[/bold]  {report['about']}")
    console.print(
        f"{machine['cores']} cores, {machine['memory_bytes'] / 1e9:.0f} GB, Python {machine['python']}, "
        f"SQLite {machine['sqlite']}, load {machine['load']:.1f} before",
        style="dim",
    )
    if "throughput" in report:
        _jobs(report, console)
    _figures(report["figures"], console)
    _goals(report["goals"], whose_goals(report), console)


def _jobs(report: dict[str, Any], console: Console) -> None:
    through, farm, budget = report["throughput"], report["farm"], report["budget"]
    console.print(f"jobs      {through['succeeded']:,} succeeded, {through['per_s']:,.0f} a second")
    console.print(f"a second  {_bars(through['per_second'])}")
    console.print(f"outcomes  {_counts(report['outcomes'])}")
    if report["holds"]:
        console.print(f"holds     {_counts(report['holds'])}")
    if farm:
        console.print(
            f"farm      {farm['cpu_percent']:.0f} % of a core, {farm['memory_mb']:.0f} MB, "
            f"children {farm['children_mb']:.0f} MB, deepest queue {farm['deepest']:,}; "
            f"other programs took {farm['others_cores']:.2f} cores"
        )
    if late := report["figures"].get("machine.late_nice_ms"):
        console.print(
            f"machine   a process as nice as the workers that only sleeps woke {late['median']:.1f} ms late "
            f"(p99 {late['p99']:.1f} ms)"
        )
    peak, whole = budget["peak"], budget["budget"]
    console.print(
        f"budget    {'[red]exceeded[/red]' if budget['exceeded'] else 'kept'}: at most {peak['cpu']:.2f} of "
        f"{whole['cpu']:.2f} cores, {peak['memory_bytes'] / 1e6:,.0f} of {whole['memory_bytes'] / 1e6:,.0f} MB, "
        f"{peak['cells']} of {whole['cells']} cells, in {budget['launches']:,} launches"
    )
    if fair := report["fairness"]:
        console.print(
            f"fairness  Jain {fair['jain']:.4f}, farthest from its share {fair['worst_share']:.1%}, "
            f"cells busy {fair['busy']:.1%}, over {fair['window_s']:.1f} s"
        )
    table = Table(
        "source",
        "priority",
        "weight",
        "jobs",
        "begun",
        "cell s",
        "got s",
        "waited (median, longest)",
        box=box.SIMPLE,
    )
    for source in report["sources"]:
        wait = source["wait_s"]
        got = (fair or {}).get("got_s", {}).get(source["name"])
        table.add_row(
            source["name"],
            source["priority"],
            f"{source['weight']:g}",
            f"{source['jobs']:,}",
            f"{source['begun']:,}",
            f"{source['cell_s']:.1f}",
            "" if got is None else f"{got:.2f}",
            f"{wait['median']:.3f} s, {wait['most']:.3f} s" if wait else "",
        )
    console.print(table)


def _figures(figures: dict[str, dict[str, Any]], console: Console) -> None:
    table = Table("figure", "median", "least", "most", "p99", "n", "unit", box=box.SIMPLE)
    for name, found in figures.items():
        one = found["n"] == 1
        spread = ["", "", ""] if one else [_number(found[part]) for part in ("least", "most", "p99")]
        table.add_row(name, _number(found["median"]), *spread, str(found["n"]), found["unit"])
    console.print(table)


def _goals(goals: list[dict[str, Any]], whose: str, console: Console) -> None:
    for goal in goals:
        bound = (
            f"at least {goal['at_least']:g}"
            if goal["at_least"] is not None
            else f"at most {goal['at_most']:g}"
        )
        value = "not measured" if goal["value"] is None else _number(goal["value"])
        mark = "[green]met[/green]   " if goal["met"] else "[red]not met[/red]"
        console.print(f"{mark}  {goal['figure']}: {value}, {bound}")
        if not goal["met"]:
            console.print(f"         {whose}", style="dim")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in sorted(counts.items(), key=lambda item: -item[1]))


def _bars(values: list[int], width: int = 100) -> str:
    """A line of bars, the highest full.

    >>> _bars([0, 4, 8])
    ' ▄█ 8'
    """
    if not values:
        return ""
    step = -(-len(values) // width)
    merged = [sum(values[i : i + step]) for i in range(0, len(values), step)]
    most = max(merged) or 1
    return "".join(BARS[value * (len(BARS) - 1) // most] for value in merged) + f" {max(values):,}"
