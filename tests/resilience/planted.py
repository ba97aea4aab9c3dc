"""Proof of the checks: bugs planted one at a time in a copy of the farm, each of which the harness must catch.

    python -m tests.resilience.planted [NAME …] [--record]

A bug is a few replacements in the source, each of which must find its text exactly once: code that has moved on
breaks the planting and not, in silence, the proof. Caught means that the scenario ends with a complaint.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.resilience import table

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 900.0
LOOKS = (
    "doctor|oracle|acknowledgement|process table|cells|restore|schedule|deadlines|fence|log cut short"
    "|racers|innocent|forgotten"
)


@dataclass(frozen=True)
class Bug:
    name: str
    scenario: str
    edits: tuple[tuple[str, str, str], ...]
    """(file, text that stands there once, what takes its place)."""
    faults: int
    sign: str = LOOKS
    """What the complaint must speak of (a pattern): that some wait was too long proves nothing by itself."""
    seed: int = 1


BUGS = (
    Bug(
        "the fence is skipped: an overtaken attempt lands",
        "damage",
        (
            (
                "farm/store/notes.py",
                '" WHERE unit.fence > asked.value ->> 2",',
                '" WHERE 0",',
            ),
            ("farm/store/documents.py", "elif old.fence > entry.fence:", "elif False:"),
        ),
        6,
    ),
    Bug(
        "settled before it has landed",
        "kills",
        (
            (
                "farm/dispatch/settling.py",
                "                    self._land(flight, ending)\n",
                "                    self._land(flight, ending)\n"
                "                    if flight.specs[ending.job_id].stage is Stage.EXTRACT:\n"
                "                        succeeded.append(ending)\n",
            ),
            (
                "farm/dispatch/settling.py",
                "self.settler.succeeded([ending for _, ending in landed])",
                "self.settler.succeeded([e for _, e in landed if self.ledger.jobs.facts([e.job_id])[e.job_id].state"
                ' == "running"])',
            ),
        ),
        15,
    ),
    Bug(
        "a transition is written outside the transaction of its move",
        "kills",
        (
            (
                "farm/ledger/jobs.py",
                "                moves | some.given,\n            )\n",
                "                moves | some.given,\n            )\n"
                '            self.connection.execute("COMMIT")\n'
                '            self.connection.execute("BEGIN IMMEDIATE")\n',
            ),
        ),
        12,
    ),
    Bug(
        "deadlines follow the wall clock",
        "clocks",
        (
            (
                "farm/workers/watch.py",
                "left_s = position.started + limits.timeout_s + lost_s - now",
                "left_s = position.started_at + limits.timeout_s + lost_s - time.time()",
            ),
            ("farm/workers/watch.py", "import select\n", "import select\nimport time\n"),
        ),
        4,
    ),
    Bug(
        "a suspend counts against deadlines",
        "clocks",
        (
            (
                "farm/workers/watch.py",
                "return sum(lost for at, lost in self._lost if at > moment)",
                "return 0.0",
            ),
        ),
        1,
    ),
    Bug(
        "no sweep of strays, neither by guard nor by start",
        "kills",
        (
            ("farm/supervisor.py", "        reaper.sweep(str(home))\n", ""),
            ("farm/workers/pool.py", "if swept := reaper.sweep(str(self.home)):", "if swept := 0:"),
            ("farm/workers/guard.py", "reaper.sweep(os.fsdecode(home), PATIENCE_S)", "pass"),
        ),
        15,
    ),
    Bug(
        "the worker alone is killed, not its tree; orphans are not adopted",
        "deaths",
        (
            (
                "farm/workers/reaper.py",
                "    seen: dict[int, int] = {}\n    quiet = 0\n    while quiet < 2 and time.monotonic() < deadline:\n"
                "        still",
                "    return []\n    seen: dict[int, int] = {}\n    quiet = 0\n"
                "    while quiet < 2 and time.monotonic() < deadline:\n        still",
            ),
        ),
        100,
    ),
    Bug(
        "the ticket is deleted at the lease",
        "kills",
        (
            (
                "farm/ledger/attempts.py",
                "f\"UPDATE task SET lease = :attempt + {ids.nth('task')}, due_at = NULL {ids.each('task')}\",",
                "f\"DELETE FROM task WHERE {ids.are('id')}\",",
            ),
        ),
        8,
    ),
    Bug(
        "the spool is not kept for recovery",
        "kills",
        (("farm/recovery.py", "_clear(home, {item.launch.id for item in salvaged})", "_clear(home, set())"),),
        15,
        r"the farm ended with|oracle|doctor|exit code",
    ),
    Bug(
        "recovery takes every attempt for done",
        "kills",
        (
            (
                "farm/recovery.py",
                "            if spec.job_id not in ended\n",
                "            if spec.job_id not in ended and spec.job_id < 0\n",
            ),
        ),
        12,
    ),
    Bug(
        "the tally is not kept when jobs leave a state",
        "kills",
        (
            (
                "farm/ledger/runs.py",
                "        if n:\n            self.connection",
                "        if n > 0:\n            self.connection",
            ),
        ),
        2,
    ),
    Bug(
        "intake acknowledges before the commit",
        "kills",
        (
            (
                "farm/dispatch/inbox.py",
                "            self.answer.set_result(self.result)\n",
                "            self.answer.done() or self.answer.set_result(self.result)\n",
            ),
            (
                "farm/dispatch/dispatcher.py",
                "                request.result = request.act()\n",
                "                request.result = request.act()\n"
                "                request.answer.set_result(request.result)\n",
            ),
        ),
        30,
    ),
    Bug(
        "the cursor lands before the content",
        "kills",
        (
            (
                "farm/store/batch.py",
                "                    entry.state = line\n",
                "                    note_cursor(self._db, entry, line, self._now)\n"
                "                    self._db.execute('COMMIT')\n"
                "                    self._db.execute('BEGIN IMMEDIATE')\n",
            ),
        ),
        60,
    ),
    Bug(
        "what has landed is not remembered: it lands again",
        "kills",
        (("farm/store/notes.py", "    if noted is None:\n        return False\n", "    return False\n"),),
        6,
        r"the farm ended (with|by itself)|FarmError: the farm has stopped|oracle|doctor|not within.*idle farm",
    ),
    Bug(
        "documents are counted when they land and when they settle",
        "kills",
        (
            (
                "farm/dispatch/settling.py",
                "        for result, ending in self.lander.poll():\n",
                "        for result, ending in self.lander.poll():\n"
                "            self.ledger.runs.count_documents(ending.job_id, new=result.new)\n",
            ),
        ),
        2,
    ),
    Bug(
        "nobody looks for stalled workers",
        "deaths",
        (("farm/workers/watch.py", "if limits.stall_s > 0:", "if limits.stall_s > 1e9:"),),
        40,
    ),
    Bug(
        "the cell of a dead worker is not given up",
        "deaths",
        (
            (
                "farm/workers/crew.py",
                "            elif self.cells.get(cell.number) is cell:\n                del self.cells[cell.number]\n",
                "",
            ),
        ),
        40,
    ),
    Bug(
        "jobs that a dead worker had not begun are forgotten",
        "deaths",
        (("farm/dispatch/settling.py", "            self._give_back(flight, finished.unstarted)\n", ""),),
        40,
    ),
    Bug(
        "a worker that leaves with code 0 has succeeded",
        "deaths",
        (
            (
                "farm/workers/verdict.py",
                "    return Cause(Outcome.CRASHED, message, exit=exit_code)\n",
                "    return Cause(Outcome.SUCCEEDED if exit_code == 0 else Outcome.CRASHED, message, exit=exit_code)\n",
            ),
        ),
        60,
    ),
    Bug(
        "an END line says that its job's lines begin at the spool's beginning",
        "kills",
        (
            (
                "farm/workers/spool.py",
                "end.end, end.prev = self.offset,",
                "end.start, end.end, end.prev = 0, self.offset,",
            ),
        ),
        4,
    ),
    Bug(
        "the state folder is not locked",
        "starts",
        (("farm/home.py", "fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)", "pass"),),
        60,
    ),
    Bug(
        "strays are told by pid alone",
        "starts",
        (
            ("farm/workers/proc.py", "found.start == start and not found.gone", "not found.gone"),
            ("farm/workers/reaper.py", "found.start != start or ", ""),
        ),
        12,
    ),
    Bug(
        "a clock that is set back is not noticed by the queue",
        "clocks",
        (
            (
                "farm/dispatch/dispatcher.py",
                "            self.ledger.tickets.set_back(now)\n",
                "            pass\n",
            ),
        ),
        4,
    ),
    Bug(
        "a daily run fires in both hours of a night that has one twice",
        "clocks",
        (("farm/triggers/cron.py", "if self.every_hour or not found.fold:", "if found:"),),
        1,
    ),
    Bug(
        "restore throws away what it replaces",
        "damage",
        (("farm/swap.py", "            _keep(place, aside / place.name)\n", "            place.unlink()\n"),),
        6,
    ),
    Bug(
        "attempts are not numbered on past what has landed",
        "damage",
        (("farm/supervisor.py", "        self._number_on(reader)\n", ""),),
        90,
    ),
)


def plant(bug: Bug, folder: Path) -> Path:
    """A copy of the farm with this bug in it; AssertionError where the code is not as the bug expects it."""
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("farm", "connectors", "profiles", "tests"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name, old, new in bug.edits:
        text = (folder / name).read_text()
        assert text.count(old) == 1, f"{bug.name}: {old!r} stands {text.count(old)} times in {name}"
        (folder / name).write_text(text.replace(old, new))
    return folder


def prove(bug: Bug, base: Path) -> str:
    """How the harness caught it; empty when it did not."""
    folder = plant(bug, base / str(BUGS.index(bug)))
    command = [sys.executable, "-m", "tests.resilience", bug.scenario]
    environment = {**os.environ, "PYTHONPATH": str(folder), "TMPDIR": str(folder), "FARM_TEST_PATIENCE": "3"}
    with subprocess.Popen(
        [*command, "--seed", str(bug.seed), "--faults", str(bug.faults)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            out, _ = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            sys.stdout.write(
                f"        {bug.name}: not counted as caught: it did not end within {TIMEOUT_S:.0f} s\n"
            )
            return ""
    found = [line for line in out.splitlines() if "BROKEN" in line]
    if not found and process.returncode != 0:
        return f"the harness ended with {process.returncode}: {out[-200:]}"
    shutil.rmtree(folder, ignore_errors=True)
    complaint = found[0].partition("BROKEN: ")[2].partition(": ")[2] if found else ""
    complaint = re.sub(r"(?<![\w…])/(?:[\w.-]+/)+", "…/", complaint)  # of no other machine
    if complaint and not re.match(bug.sign, complaint):
        sys.stdout.write(f"        {bug.name}: not counted as caught: {complaint}\n")
        return ""
    return complaint


def _others(bugs: list[dict[str, str]]) -> list[dict[str, str]]:
    """What earlier runs found of bugs that were not tried in this one."""
    path = table.DOCS / "reliability.json"
    kept = json.loads(path.read_text()).get("planted", {"bugs": []})["bugs"] if path.exists() else []
    tried, known = {bug["name"] for bug in bugs}, {bug.name for bug in BUGS}
    return [bug for bug in kept if bug["name"] in known - tried]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.resilience.planted")
    parser.add_argument("names", nargs="*", help="parts of names; all bugs without")
    parser.add_argument(
        "--record", action="store_true", help="write what came of it into docs/RELIABILITY.md"
    )
    parser.add_argument("--at-once", type=int, default=2)
    given = parser.parse_args()
    chosen = [bug for bug in BUGS if not given.names or any(name in bug.name for name in given.names)]
    base = Path(tempfile.mkdtemp(prefix="planted-"))

    def one(bug: Bug) -> dict[str, str]:
        began = time.monotonic()
        caught = prove(bug, base)
        sys.stdout.write(f"{time.monotonic() - began:5.0f} s  {bug.name}: {caught or 'NOT CAUGHT'}\n")
        sys.stdout.flush()
        return {"name": bug.name, "scenario": bug.scenario, "caught": caught}

    with ThreadPoolExecutor(given.at_once) as pool:
        bugs = list(pool.map(one, chosen))
    if given.record:
        made_at = time.strftime("%Y-%m-%d", time.gmtime())
        table.record([], planted={"made_at": made_at, "bugs": [*_others(bugs), *bugs]})
    return 0 if all(bug["caught"] for bug in bugs) else 1


if __name__ == "__main__":
    sys.exit(main())
