"""The comparison for a person at a terminal: figures, what each does not do, and one line for each peer and work."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from loadtest.compare import NOOP, REAL
from loadtest.figures import median
from loadtest.peers import FLOOR


def show(found: dict[str, Any], console: Console) -> None:
    if found[NOOP]["values"]:
        _noops(found, console)
    if found[REAL]["values"]:
        _reads(found, console)
    busy = found["busy_before_cores"]
    console.print(
        f"Medians of {found['repetitions']} turns, {found['workers']} workers each. Others: cores that other programs"
        f" took during a turn; before one {median(busy):.2f} of {found['machine']['cores']}.",
        style="dim",
    )
    for name, said in found["peers"].items():
        console.print(f"\n{name}", style="bold")
        for lack in said["lacks"]:
            console.print(f"  - {lack}", style="dim", highlight=False)
        for offer in said["offers"]:
            console.print(f"  + {offer}", style="dim", highlight=False)
    console.print()
    for line in lines(found):
        console.print(line, highlight=False)


def lines(found: dict[str, Any]) -> list[str]:
    """One for each peer and work, and one for each peer that could not take part."""
    said = []
    for name, kinds in found[NOOP]["ratios"].items():
        work, through, cpu = kinds["work"], kinds["through"], kinds["cpu_us"]
        spread = f"{times(work['least'])} to {times(work['most'])}"
        said.append(
            f"farm vs {name} (no-op): {times(work['median'])}  (turns {spread};"
            f" with enqueueing {times(through['median'])}; {times(cpu['median'])} the CPU)"
        )
    for name, kinds in found[REAL]["ratios"].items():
        said.append(_time(name, kinds))
    floor = found["floor"]
    if floor in found[REAL]["ratios"]:
        said.append(_time("floor", found[REAL]["ratios"][floor]) + f", which is {floor}")
    return said + [f"farm vs {name}: not compared, {why}" for name, why in found["left_out"].items()]


def _time(name: str, kinds: dict[str, Any]) -> str:
    wall, cpu = kinds["wall_s"], kinds["cpu_s"]
    spread = f"{times(wall['least'])} to {times(wall['most'])}"
    return f"farm vs {name} (real): {times(wall['median'])} the time  (turns {spread}; {times(cpu['median'])} the CPU)"


def times(ratio: float) -> str:
    """Two decimals, or two digits of what is very small.

    >>> times(4.214), times(0.00234)
    ('4.21x', '0.0023x')
    """
    return f"{ratio:.2f}x" if ratio >= 0.1 else f"{ratio:.2g}x"


def _noops(found: dict[str, Any], console: Console) -> None:
    table = Table(
        "no-op jobs/s",
        "at work",
        "least",
        "most",
        "enqueue",
        "both",
        "CPU µs a job",
        "others",
        box=box.SIMPLE,
    )
    for name, rates in found[NOOP]["values"].items():
        work, enqueue = rates["work"], rates.get("enqueue")
        cpu_us = median(rates["cpu_us"])
        table.add_row(
            _label(name),
            *(f"{value:,.0f}" for value in (median(work), min(work), max(work))),
            f"{median(enqueue):,.0f}" if enqueue else "",
            f"{median(rates['through']):,.0f}",
            f"{cpu_us:,.0f}" if cpu_us >= 10 else f"{cpu_us:.2g}",
            _others(found[NOOP]["turns"][name]),
        )
    console.print(table)


def _reads(found: dict[str, Any], console: Console) -> None:
    table = Table(
        *(
            "documents/s",
            "median",
            "least",
            "most",
            "CPU ms a document",
            "least",
            "most",
            "documents",
            "others",
        ),
        box=box.SIMPLE,
    )
    for name, seconds in found[REAL]["values"].items():
        rates = [1 / s for s in seconds["wall_s"]]
        cpu_ms = [s * 1000 for s in seconds["cpu_s"]]
        turns = found[REAL]["turns"][name]
        table.add_row(
            _label(name),
            *(f"{value:,.0f}" for value in (median(rates), min(rates), max(rates))),
            *(f"{value:.2f}" for value in (median(cpu_ms), min(cpu_ms), max(cpu_ms))),
            f"{turns[0]['documents']:,.0f}",
            _others(turns),
        )
    console.print(table)


def _label(name: str) -> str:
    return name + (" (floor)" if name in FLOOR else "")


def _others(turns: list[dict[str, float]]) -> str:
    return f"{median([turn['others_cores'] for turn in turns]):.2f}"
