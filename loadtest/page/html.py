"""The page: one HTML file with its style, its script and its data inside. Nothing is fetched."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from loadtest.page.plots import Plot
from loadtest.page.plots import plots as drawn
from loadtest.page.scene import Scene
from loadtest.record import Record
from loadtest.report import whose_goals

ASSETS = Path(__file__).with_name("assets")


def page(record: Record, report: Mapping[str, Any]) -> str:
    """The page of a record and the report that was built from it."""
    plots = drawn(Scene(record, report)) if "throughput" in report else []
    parts = [
        _head(report),
        _goals(report["goals"], whose_goals(report)),
        _tiles(report) if plots else "",
        _drawings(plots),
        _outcomes(report) if plots else "",
        _sources(report) if plots else "",
        _figures(report["figures"]),
    ]
    return whole(f"{report['scenario']}: load test", "\n".join(parts), plots)


def whole(title: str, body: str, plots: Sequence[Plot] = ()) -> str:
    """The document around a body."""
    data = json.dumps([_finite(plot.data()) for plot in plots], separators=(",", ":")).replace("</", "<\\/")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>
{_asset("uPlot.min.css")}
{_asset("page.css")}
</style>
</head>
<body>
<main>
{body}
</main>
<script type="application/json" id="plots">{data}</script>
<script>
{_asset("uPlot.iife.min.js")}
{_asset("page.js")}
</script>
</body>
</html>
"""


def machine(found: Mapping[str, Any], at: float | None) -> str:
    """What the figures depend on, in a line."""
    when = f", {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(at))}" if at else ""
    return (
        f"{found['cores']} cores, {found['memory_bytes'] / 1e9:.0f} GB, Python {found['python']}, "
        f"SQLite {found['sqlite']}, Linux {found['kernel']}, load {found['load']:.1f} before{when}"
    )


def number(value: float | None) -> str:
    """As a person reads it.

    >>> number(1234567.8), number(0.99971), number(12.0), number(None)
    ('1,234,568', '0.9997', '12', 'not measured')
    """
    if value is None or math.isnan(value):
        return "not measured"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


# -- the parts


def _head(report: Mapping[str, Any]) -> str:
    goals = report["goals"]
    met = sum(goal["met"] for goal in goals)
    verdict = (
        f'<p class="verdict {_word(met == len(goals))}">{met} of {len(goals)} goals met</p>' if goals else ""
    )
    return (
        f"<header><h1>{escape(report['scenario'])}</h1>{verdict}<p class=about>{escape(report['about'])}</p>"
        f"<p class=fine>{escape(machine(report['machine'], report['at']))}</p></header>"
    )


def _goals(goals: Iterable[Mapping[str, Any]], whose: str) -> str:
    cards = []
    for goal in sorted(goals, key=lambda goal: bool(goal["met"])):
        least = goal["at_least"] is not None
        bound = goal["at_least"] if least else goal["at_most"]
        value = goal["value"]
        scale = max(bound, value or 0.0) * 1.15 or 1.0
        cards.append(
            f'<li class="{_word(goal["met"])}"><b>{"met" if goal["met"] else "missed"}</b>'
            f"<span class=name>{escape(goal['figure'])}</span>"
            f"<span class=value>{number(value)}</span>"
            f"<span class=bound>at {'least' if least else 'most'} {number(bound)}</span>"
            f'<i class=track><i class=fill style="width:{(value or 0.0) / scale:.1%}"></i>'
            f'<i class=tick style="left:{bound / scale:.1%}"></i></i></li>'
        )
    said = f"<p class=fine>{escape(whose)}</p>" if whose else ""
    return f"<ul class=goals>{''.join(cards)}</ul>{said}" if cards else ""


def _tiles(report: Mapping[str, Any]) -> str:
    farm = report["farm"]
    tiles = [
        ("jobs succeeded", number(report["throughput"]["succeeded"])),
        ("a second", number(report["throughput"]["per_s"])),
        ("budget", "exceeded" if report["budget"]["exceeded"] else "kept"),
    ]
    if start := report["latency"].get("start_ms"):
        tiles.append(("submit to start, median", f"{number(start['median'])} ms"))
    if farm:
        tiles += [
            ("deepest queue", number(farm["deepest"])),
            ("farm process", f"{farm['memory_mb']:.0f} MB"),
            ("of a core for it", f"{farm['cpu_percent']:.0f} %"),
            ("cores for other programs", f"{farm['others_cores']:.2f}"),
        ]
    if late := report["figures"].get("machine.late_nice_ms"):
        tiles.append(("late: a process that only sleeps, p99", f"{number(late['p99'])} ms"))
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in tiles)
    return f"<dl class=tiles>{cells}</dl>"


def _drawings(plots: Sequence[Plot]) -> str:
    drawn = "".join(
        f"<figure><figcaption><h2>{escape(plot.title)}{_unit(plot.unit)}</h2><p>{escape(plot.note)}</p>"
        f'</figcaption><div class=plot data-plot={n} role=img aria-label="{escape(plot.title)}"></div></figure>'
        for n, plot in enumerate(plots)
    )
    return f"<section class=plots>{drawn}</section>" if plots else ""


def _outcomes(report: Mapping[str, Any]) -> str:
    def bars(title: str, counts: Mapping[str, int]) -> str:
        most = max(counts.values(), default=1)
        rows = "".join(
            f"<tr><th>{escape(name.replace('_', ' '))}</th>"
            f'<td class=bar><i style="width:{n / most:.1%}"></i></td><td class=n>{n:,}</td></tr>'
            for name, n in sorted(counts.items(), key=lambda item: -item[1])
        )
        return f"<div><h2>{title}</h2><table class=bars>{rows}</table></div>"

    return (
        "<section class=pair>"
        + bars("How attempts ended", report["outcomes"])
        + bars("Where jobs rest", report["states"])
        + "</section>"
    )


def _sources(report: Mapping[str, Any]) -> str:
    names = ("source", "priority", "weight", "jobs", "begun", "succeeded", "cell time", "waited", "longest")
    rows = []
    for source in report["sources"]:
        wait = source["wait_s"]
        values = [
            source["priority"],
            f"{source['weight']:g}",
            f"{source['jobs']:,}",
            f"{source['begun']:,}",
            f"{source['succeeded']:,}",
            f"{source['cell_s']:.1f} s",
            f"{wait['median']:.3g} s" if wait else "",
            f"{wait['most']:.3g} s" if wait else "",
        ]
        cells = "".join(f"<td>{escape(value)}</td>" for value in values)
        rows.append(f"<tr><th>{escape(source['name'])}</th>{cells}</tr>")
    head = "".join(f"<th>{name}</th>" for name in names)
    return f"<section><h2>Sources</h2><div class=wide><table>\n<tr>{head}</tr>{''.join(rows)}</table></div></section>"


def _figures(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """All of them: the median as a number, and as a bar with its spread beside those of the same unit."""
    most: dict[str, float] = {}
    for figure in figures.values():
        top = figure.get("most", figure["median"])
        most[figure["unit"]] = max(most.get(figure["unit"], 0.0), top if math.isfinite(top) else 0.0)
    rows = []
    for name, figure in sorted(figures.items(), key=lambda item: (item[1]["unit"], item[0])):
        spread = ""
        if figure["n"] > 1:
            spread = f"{number(figure['least'])} to {number(figure['most'])}, n = {figure['n']:,}"
        rows.append(
            f"<tr><th>{escape(name)}</th><td class=n>{number(figure['median'])} {escape(figure['unit'])}</td>"
            f"<td class=bar>{_bar(figure, most[figure['unit']])}</td><td class=fine>{spread}</td></tr>"
        )
    return (
        "<section><h2>All figures</h2><p class=fine>Medians; the bar shows the median, the line from the least "
        f"to the most, on one scale for each unit.</p><table class=figures>{''.join(rows)}</table></section>"
    )


def _bar(figure: Mapping[str, Any], most: float) -> str:
    if most <= 0 or not math.isfinite(figure["median"]):
        return ""
    bar = f'<i style="width:{max(0.0, figure["median"]) / most:.1%}"></i>'
    if figure["n"] > 1:
        left, right = max(0.0, figure["least"]) / most, figure["most"] / most
        bar += f'<b style="left:{left:.1%};width:{max(0.0, right - left):.1%}"></b>'
    return bar


def _unit(unit: str) -> str:
    return f" <small>{escape(unit)}</small>" if unit else ""


def _word(met: bool) -> str:
    return "met" if met else "missed"


def _finite(value: Any) -> Any:
    """JSON knows no NaN."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")
