"""The figures that goals speak of, each under one name."""

from __future__ import annotations

from typing import Any

OVER = ("succeeded", "quarantined", "cancelled")


def headline(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What goals speak of, each under one name."""
    found: dict[str, dict[str, Any]] = {}

    def add(name: str, unit: str, value: float) -> None:
        found[name] = {"unit": unit, "median": value, "n": 1}

    add("throughput.per_s", "jobs/s", report["throughput"]["per_s"])
    if bulk := report["submit"]["bulk_per_s"]:
        found["submit.bulk_per_s"] = {"unit": "jobs/s", **bulk}
    if start := report["latency"].get("start_ms"):
        found["latency.start_ms"] = {"unit": "ms", **start}
        add("latency.start_p99_ms", "ms", start["p99"])
    if fairness := report["fairness"]:
        add("fairness.jain", "", fairness["jain"])
        add("fairness.worst_share", "", fairness["worst_share"])
    if report["cells_busy"] is not None:
        add("cells.busy", "", report["cells_busy"])
    for source in report["sources"]:
        if source["wait_s"]:
            add(f"wait.{source['name']}.longest_s", "s", source["wait_s"]["most"])
            add(f"wait.{source['name']}.first_s", "s", source["wait_s"]["first"])
    add("budget.exceeded", "times", float(report["budget"]["exceeded"]))
    over = sum(report["states"].get(state, 0) for state in OVER)
    add("jobs.open", "jobs", sum(source["jobs"] for source in report["sources"]) - over)
    if report["farm"]:
        add("farm.children_mb", "MB", report["farm"]["children_mb"])
        add("farm.memory_mb", "MB", report["farm"]["memory_mb"])
        add("farm.cpu_us_per_job", "µs/job", report["farm"]["cpu_us_per_job"])
        add("workers.cpu_us_per_job", "µs/job", report["farm"]["children_cpu_us_per_job"])
    return found
