"""The long part: many seeds of every scenario, side by side, and the table written from what came of them.

    python -m tests.resilience.long --kills 1000 [--minutes M] [--only kills,deaths] [--first-seed S] [--at-once N]

With `--log FILE` each report is added to that file as soon as it is made, and the table counts all that lie in it: a
long run can be made in pieces. All counts follow from the number of kills: twice as many deaths of workers, and so on.
With `--minutes` no seed begins after that time, and the table says how many were made.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.resilience import scenarios, table
from tests.resilience.harness import Report


def plan(kills: int, minutes: float) -> Iterator[tuple[str, int, int]]:
    """(scenario, seeds, faults each), for so many kills of the farm; the soak takes the minutes that there are."""
    yield "kills", -(-kills // 25), 25
    yield "deaths", -(-kills * 2 // 200), 200
    yield "clocks", max(1, kills // 100), 8
    yield "starts", max(1, kills // 200), 50
    yield "damage", 1, max(60, min(kills, 100_000))
    yield "soak", 1, int(max(6, min(kills * 6 // 10, minutes * 6)))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.resilience.long")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--only", default="")
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=3)
    parser.add_argument("--log", type=Path, help="a file of reports, added to")
    parser.add_argument("--docs", type=Path, default=table.DOCS)
    parser.add_argument("--others", action="store_true", help="also planted bugs, simulation, system calls")
    given = parser.parse_args()
    deadline = time.monotonic() + given.minutes * 60
    only = set(filter(None, given.only.split(",")))
    todo = [
        (name, seed, faults)
        for name, seeds, faults in plan(given.kills, given.minutes)
        if not only or name in only
        for seed in range(given.first_seed, given.first_seed + seeds)
    ]
    base = Path(tempfile.mkdtemp(prefix="farm-resilience-"))

    earlier = _read(given.log) if given.log and given.log.exists() else []
    done = {(report.scenario, seed) for report in earlier for seed in report.seeds}
    todo = [job for job in todo if job[:2] not in done]
    writing = threading.Lock()

    def one(job: tuple[str, int, int]) -> Report | None:
        name, seed, faults = job
        if time.monotonic() > deadline:
            return None
        report = scenarios.ALL[name](seed, base, faults)
        sys.stdout.write(scenarios.told(report) + "\n")
        sys.stdout.flush()
        if given.log:
            with writing, given.log.open("a") as file:
                file.write(json.dumps(vars(report)) + "\n")
        return report

    # The longest first, then in turns: what time cuts off is some of everything.
    todo.sort(key=lambda job: (job[0] not in ("soak", "damage"), job[1]))
    with ThreadPoolExecutor(given.at_once) as pool:
        reports = [report for report in pool.map(one, todo) if report is not None]
    total = table.summed([*earlier, *reports])
    table.record(total, given.docs)
    sys.stdout.write("\n" + "\n".join(scenarios.told(report) for report in total) + "\n")
    broken = any(report.problems for report in total)
    if given.others:
        left = max(1.0, (deadline - time.monotonic()) / 60)
        broken = _others(given.kills, left, given.docs) or broken
    return int(broken)


def _read(log: Path) -> list[Report]:
    reports = []
    for line in log.read_text().splitlines():
        kept = json.loads(line)
        report = Report(kept["scenario"], kept["seeds"], wall_s=kept["wall_s"])
        report.faults.update(kept["faults"])
        report.checks.update(kept["checks"])
        report.figures.update(kept["figures"])
        report.skipped.update(kept["skipped"])
        report.problems.extend(kept["problems"])
        reports.append(report)
    return reports


def _others(kills: int, minutes: float, docs: Path) -> bool:
    """The long runs that are programs of their own; what they print goes into the table. True when one failed."""
    failed = False
    for name, words in (
        ("planted", ["--record"]),
        ("simulation", ["0", str(kills * 100), f"{minutes:.1f}"]),
        ("boundaries", ["all"]),
    ):
        command = [sys.executable, "-m", f"tests.resilience.{name}", *words]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        sys.stdout.write(done.stdout)
        if name != "planted":
            table.section(name, done.stdout or f"it ended with {done.returncode} and said nothing", docs)
        failed = failed or done.returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
