"""All scenarios by name: (seed, folder, faults=…, keep=…) -> Report."""

from __future__ import annotations

from collections.abc import Callable

from tests.resilience import clocks, damage, deaths, kills, soak, starts
from tests.resilience.harness import Report, quantile

ALL: dict[str, Callable[..., Report]] = {
    module.NAME: module.run for module in (kills, deaths, clocks, starts, damage, soak)
}


def told(report: Report) -> str:
    """A report for the terminal."""
    lines = [f"{report.scenario}: seeds {report.seeds}, {report.wall_s:.1f} s"]
    lines += [f"  {n:6,}  {fault}" for fault, n in sorted(report.faults.items())]
    lines += [f"  {n:6,}  looks by {who}" for who, n in sorted(report.checks.items())]
    for name, values in sorted(report.figures.items()):
        lines.append(
            f"  {name}: {len(values)} values, median {quantile(values, 0.5):.3f}, p99 {quantile(values, 0.99):.3f},"
            f" most {max(values):.3f}"
        )
    lines += [f"  skipped: {what}: {why}" for what, why in report.skipped.items()]
    lines += [f"  BROKEN: {problem}" for problem in report.problems]
    return "\n".join(lines)
