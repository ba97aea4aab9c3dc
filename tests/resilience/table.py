"""docs/RELIABILITY.md, written from the runs that were really made: their reports lie in docs/reliability.json.

A run replaces what an earlier run of its scenario left there.
"""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.resilience.harness import OF_THESE, Report, quantile

DOCS = Path(__file__).resolve().parents[2] / "docs"

CHECKED = {
    "kills": "nothing acknowledged is lost, no effect is doubled, nothing that was seen committed goes; none of its"
    " processes lives 5 s later; the recovery is measured, from the start of the process to the first new attempt",
    "deaths": "every unit lands once and whole, its neighbours in the launch too; no cell stands still for 3 s (times"
    " the load per core)",
    "clocks": "no job is called late that was not, none runs twice or waits for years; one run is made up for",
    "starts": "one owner; one sentence for each other; an innocent process that has a dead one's pid is let be",
    "damage": "no flipped page goes unseen; refused in a sentence or worked on; the damaged file is kept; a restore"
    " brings back the same content hash",
    "soak": "memory, descriptors, threads and cells are back where they began; all that of `kills` besides",
}


def record(reports: Iterable[Report], docs: Path = DOCS, **more: Any) -> None:
    """Add these to the runs that were made, and write the table anew. `more`: other sections, by name."""
    path = docs / "reliability.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for report in reports:
        kept[report.scenario] = {
            "made_at": time.strftime("%Y-%m-%d", time.gmtime()),
            "on": machine(),
            "seeds": sorted(set(report.seeds)),
            "faults": dict(sorted(report.faults.items())),
            "checks": dict(sorted(report.checks.items())),
            "figures": {
                name: {
                    "n": len(values),
                    "median": quantile(values, 0.5),
                    "p99": quantile(values, 0.99),
                    "max": max(values),
                }
                for name, values in sorted(report.figures.items())
                if values
            },
            "skipped": report.skipped,
            "problems": report.problems,
            "wall_s": report.wall_s,
        }
    kept |= more
    path.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    (docs / "RELIABILITY.md").write_text(markdown(kept))


def machine() -> str:
    """What it ran on, for a reader."""
    return (
        f"{os.cpu_count()} cores, Linux {platform.release().split('-')[0]},"
        f" Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    )


def markdown(kept: dict[str, Any]) -> str:
    """The document."""
    runs = {name: run for name, run in kept.items() if "faults" in run}
    total = sum(
        n for run in runs.values() for fault, n in run["faults"].items() if not fault.startswith(OF_THESE)
    )
    lines = [
        "# Reliability",
        "",
        "Faults that the farm was put through, and what came of it. This page is written by `make resilience` from",
        "the runs that were really made; `docs/reliability.json` holds their figures. An independent oracle, outside",
        "the state folder, kept what the client was told and what connectors really did; after every fault it was",
        "asked, and so were `farm doctor` and the process table.",
        "",
        f"**{total:,} faults in the runs below.** Replay any seed: `python -m tests.resilience SCENARIO --seed N`.",
        "",
    ]
    for name, run in runs.items():
        lines += _scenario(name, run)
    for name, found in kept.get("sections", {}).items():
        lines += [f"## {name}", "", f"Made {found['made_at']} on {found['on']}.", ""]
        lines += ["```", found["text"].strip(), "```", ""]
    planted = kept.get("planted")
    if planted:
        lines += _planted(planted)
    return "\n".join(lines).rstrip() + "\n"


def _scenario(name: str, run: dict[str, Any]) -> list[str]:
    seeds = run["seeds"]
    span = f"{seeds[0]}–{seeds[-1]}" if len(seeds) > 2 else ", ".join(map(str, seeds))
    lines = [
        f"## {name}",
        "",
        f"Made {run['made_at']} on {run['on']}; seeds {span}; {run['wall_s'] / 60:.0f} min of farm time.",
        "",
        f"Checked: {CHECKED.get(name, 'see the scenario')}. Looks: "
        + ", ".join(f"{who} {n:,}" for who, n in run["checks"].items())
        + ".",
        "",
        "| fault | times |",
        "|---|---:|",
        *(f"| {fault} | {n:,} |" for fault, n in run["faults"].items() if n),
        "",
    ]
    if run["figures"]:
        lines += ["| figure | values | median | p99 | most |", "|---|---:|---:|---:|---:|"]
        lines += [
            f"| {what} | {f['n']:,} | {f['median']:.3g} | {f['p99']:.3g} | {f['max']:.3g} |"
            for what, f in run["figures"].items()
        ]
        lines.append("")
    lines += [f"- skipped, {what}: {why}" for what, why in run["skipped"].items()]
    lines += [f"- **broken**: {problem.splitlines()[0]}" for problem in run["problems"]]
    if not run["problems"]:
        lines.append("- nothing was broken")
    return [*lines, ""]


def _planted(planted: dict[str, Any]) -> list[str]:
    caught = sum(bool(found["caught"]) for found in planted["bugs"])
    return [
        "## Planted bugs",
        "",
        f"Made {planted['made_at']}. To show that the checks see something, bugs were planted one at a time in a copy"
        f" of the farm: {caught} of {len(planted['bugs'])} were caught.",
        "",
        *([planted["note"], ""] if planted.get("note") else []),
        "| bug | caught by | as |",
        "|---|---|---|",
        *(
            f"| {bug['name']} | {bug['scenario']} | {_cell(bug['caught']) or '**not caught**'} |"
            for bug in planted["bugs"]
        ),
        "",
    ]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")[:160]


def summed(reports: Iterable[Report]) -> list[Report]:
    """One for each scenario."""
    by_name: dict[str, Report] = {}
    for report in reports:
        by_name.setdefault(report.scenario, Report(report.scenario)).add(report)
    return list(by_name.values())


def section(name: str, text: str, docs: Path = DOCS) -> None:
    """Take what another program of the long part printed into the table, word for word."""
    path = docs / "reliability.json"
    sections = json.loads(path.read_text()).get("sections", {}) if path.exists() else {}
    made_at = time.strftime("%Y-%m-%d", time.gmtime())
    sections[name] = {"made_at": made_at, "on": machine(), "text": text}
    record([], docs, sections=sections)


if __name__ == "__main__":
    record([])
