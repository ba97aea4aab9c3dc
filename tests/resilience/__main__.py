"""`python -m tests.resilience SCENARIO --seed N [--faults K]`: replay one seed, and say what it did."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.resilience import scenarios


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.resilience")
    parser.add_argument("scenario", choices=sorted(scenarios.ALL))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--faults", type=int, help="how many in this run; the scenario's own number otherwise"
    )
    parser.add_argument("--keep", action="store_true", help="keep the state folder")
    given = parser.parse_args()
    more = {} if given.faults is None else {"faults": given.faults}
    base = Path(tempfile.mkdtemp(prefix="farm-resilience-"))
    report = scenarios.ALL[given.scenario](given.seed, base, keep=given.keep, **more)
    print(scenarios.told(report))  # noqa: T201
    if report.problems or given.keep:
        print(f"the state is kept in {base}")  # noqa: T201
    else:
        base.rmdir()
    return 1 if report.problems else 0


sys.exit(main())
