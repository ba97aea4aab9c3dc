"""A kill or an error at every system call by which the farm makes something durable, one call at a time.

    python -m tests.resilience.boundaries                    what there is to inject into, counted
    python -m tests.resilience.boundaries work pwrite64 17 EIO     replay: EIO at the 17th pwrite64 of `work`
    python -m tests.resilience.boundaries all [SHARE]        every point (or one of SHARE); prints a table

A part is a piece of the farm's own code with nothing but real files below it, run in a process of its own
under `strace -e inject`. What it tells its client goes over a socket, so that promises outlive it. After the
fault it is taken up again without one; then the doctor must be content and every promise be kept.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farm import home as homes
from farm.backup import backup, restore, verify
from farm.cli.faults import sentences
from farm.doctor import examine
from farm.fingerprint import fingerprint
from farm.home import LEDGER, STORE
from farm.ledger import ledger as ledgers
from farm.ledger.ledger import Ledger
from farm.sqlite import open_writer
from farm.store.store import Store
from tests.resilience.many import fast_folder, unlogged
from tests.resilience.simulation import Simulation
from tests.resilience.stand_ins import Odds

CALLS = ("write", "pwrite64", "fsync", "fdatasync", "rename", "renameat2", "link", "unlink", "unlinkat", "rmdir",
         "mkdir", "ftruncate", "fallocate", "openat")  # fmt: skip
FAULTS = ("SIGKILL", "ENOSPC", "EIO")
NO_ROOM = frozenset(
    {"write", "pwrite64", "fsync", "fdatasync", "rename", "link", "mkdir", "ftruncate", "fallocate", "openat"}
)
"""Calls that a full disk can fail."""
SEED = 11
TICKS = 40


Tell = Callable[..., None]
"""Tell the client, now: what has been told is a promise."""


class Work(Simulation):
    """A farm on real files with a real store; only its cells and its time are false."""

    def __init__(self, home: Path, tell: Tell | None = None) -> None:
        self._files = Ledger.open(home / LEDGER)
        self.store = Store.open(home / STORE)
        self._tell = tell
        super().__init__(SEED, home, self._files.connection, self.store.land)

    def run(self) -> None:
        """Everything once: submissions, a listing, retries, quarantine, what operators do about it."""
        self.odds.failure = self.cells.odds.failure = 45.0
        self.odds.death = self.cells.odds.death = 5.0
        names = list(self.world)
        for name in names:
            self.world[name].update(a="1", b="1")
        self._do([self.ask("submit", source=names[0], jobs=[{"key": f"given{i}"} for i in range(3)])])
        self._do([self.ask("run", source=name) for name in names])
        for _ in range(TICKS):
            self._do([])
        self._do([self.ask("pause_jobs", all=True)])
        self._do([self.ask("resume_jobs", all=True)])
        self._do([self.ask("retry_jobs", ids=[1, 2]), self.ask("discard_jobs", all=True)])
        self.world[names[0]].update(a="2")
        self._do([self.ask("run", source=names[0])])
        for _ in range(TICKS // 2):
            self._do([])

    def _do(self, wishes: list[Any]) -> None:
        assert self.tick(wishes)
        self.pass_time()
        if self._tell is not None:
            succeeded = [id_ for (id_,) in self.disk.execute("SELECT id FROM job WHERE state = 'succeeded'")]
            self._tell(runs=sorted(self.told.runs), units=sorted(self.told.units), succeeded=succeeded)

    def finish(self) -> None:
        """Nothing fails any more: all comes to its end."""
        self.odds = self.cells.odds = Odds.none()
        for name in self.world:
            self.world[name].update(a="2", b="1")
        self.tick([self.ask("resume_jobs", all=True)])
        self.tick([self.ask("retry_jobs", all=True)])
        self._until_quiet()

    def close(self) -> None:
        self.store.close()
        self._files.close()


# -- the parts


@dataclass(frozen=True)
class Part:
    """`prepare` a state folder, `run` it under the fault, then `judge` what became of it."""

    prepare: Callable[[Path], None]
    run: Callable[[Path, Tell], None]
    judge: Callable[[Path, dict[str, Any]], None]


def _nothing(home: Path) -> None:
    homes.prepare(home)


def _worked(home: Path) -> None:
    """A farm that has done its work."""
    homes.prepare(home)
    work = Work(home)
    work.run()
    work.finish()
    work.close()


def _died(home: Path) -> None:
    """A farm that was killed with attempts under way, some of them ended, some landed."""
    homes.prepare(home)
    work = Work(home)
    names = list(work.world)
    for name in names:
        work.world[name].update(a="1", b="1")
    work.tick([work.ask("submit", source=names[0], jobs=[{"key": f"given{i}"} for i in range(9)])])
    work.tick([work.ask("run", source=name) for name in names])
    for _ in range(12):
        work.tick([])
        work.pass_time()
        if work.disk.execute("SELECT count(*) FROM attempt WHERE outcome IS NULL").fetchone()[0] > 2:
            break
    work.time.pass_by(0.5)
    work.cells.catch_up()
    work.landings.catch_up()
    work.close()


def _work(home: Path, tell: Tell) -> None:
    work = Work(home, tell)
    work.run()
    work.close()


def _judge_work(home: Path, told: dict[str, Any]) -> None:
    work = Work(home)
    work.finish()
    disk = work.disk
    runs = {id_ for (id_,) in disk.execute("SELECT id FROM run")}
    lost = set(told.get("runs", [])) - runs
    assert not lost, f"acknowledged runs are lost: {lost}"
    units = {
        tuple(row) for row in disk.execute("SELECT source, key, version FROM job WHERE stage = 'extract'")
    }
    gone = {tuple(unit) for unit in told.get("units", [])} - units
    assert not gone, f"acknowledged jobs are lost: {gone}"
    still = {id_ for (id_,) in disk.execute("SELECT id FROM job WHERE state = 'succeeded'")}
    undone = set(told.get("succeeded", [])) - still
    assert not undone, f"jobs that had succeeded have not: {undone}"
    twice = disk.execute(
        "SELECT source, key, version FROM job WHERE stage = 'extract' AND state = 'succeeded' AND version <> ''"
        " GROUP BY 1, 2, 3 HAVING count(*) > 1"
    ).fetchall()
    assert not twice, f"done twice: {twice}"
    left = disk.execute("SELECT id, state FROM job WHERE state NOT IN ('succeeded', 'cancelled')").fetchall()
    assert not left, f"jobs are left: {left}"
    work.close()
    _doctor(home)


def _recover(home: Path, tell: Tell) -> None:
    work = Work(home, tell)
    for _ in range(4):
        work._do([])
    work.close()


def _doctor(home: Path) -> None:
    wrong = [each for each in examine(home, None) if not each.ok and "private" not in each.check]
    assert not wrong, wrong


def _contents(home: Path) -> dict[str, Any]:
    found = {}
    for name in (LEDGER, STORE):
        with closing(sqlite3.connect(home / name)) as db:
            found[name] = fingerprint(db)
    return found


def _back_up(home: Path, tell: Tell) -> None:
    backup(home, home.parent / "backup")
    tell(made=True)


def _judge_backup(home: Path, told: dict[str, Any]) -> None:
    target = home.parent / "backup"
    if told.get("made") or target.exists():
        verify(target)
        assert _contents(target)[LEDGER]["rows"] == _contents(home)[LEDGER]["rows"]
    if told["ended"] == "said":
        left = [path.name for path in home.parent.iterdir() if path.name.endswith(".part")]
        assert not left, f"a backup that failed left {left}"
    _doctor(home)


def _two_states(home: Path) -> None:
    """A backup, and a farm that has worked on."""
    _worked(home)
    backup(home, home.parent / "backup")
    with closing(sqlite3.connect(home / LEDGER)) as db, db:
        db.execute(
            "INSERT INTO schedule (source, spec, last_fire_at, next_fire_at) VALUES ('new', 'every 60', 1.0, 2.0)"
        )


def _restore(home: Path, tell: Tell) -> None:
    restore(home, home.parent / "backup", force=True)
    tell(made=True)


def _judge_restore(home: Path, told: dict[str, Any]) -> None:
    with homes.Lock(home):
        pass
    found, new = _contents(home), _contents(home.parent / "backup")
    is_new = found == new
    assert is_new or not told.get("made"), "a restore that was acknowledged did not happen"
    if not is_new:
        with closing(sqlite3.connect(home / LEDGER)) as db:
            assert db.execute("SELECT count(*) FROM schedule WHERE source = 'new'").fetchone() == (1,), (
                "neither state"
            )
    assert not (home / "restore.new").exists()
    _doctor(home)


NEXT = ledgers.SCHEMA_VERSION + 1
FUTURE = (
    "ALTER TABLE job ADD COLUMN colour TEXT NOT NULL DEFAULT 'none';"
    "CREATE TABLE palette (id INTEGER PRIMARY KEY, job_id INTEGER NOT NULL) STRICT;"
    "INSERT INTO palette (job_id) SELECT id FROM job;"
)
"""A migration that is yet to come."""


def migrate(home: Path, sql: str = FUTURE) -> sqlite3.Connection:
    """As a farm of the next schema version would open the ledger."""
    return open_writer(home / LEDGER, "", NEXT, {**ledgers.MIGRATIONS, ledgers.SCHEMA_VERSION: sql})


def _migrate(home: Path, tell: Tell) -> None:
    migrate(home).close()
    tell(made=True)


def _judge_migrate(home: Path, told: dict[str, Any]) -> None:
    with closing(sqlite3.connect(home / LEDGER)) as db:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        assert version in (NEXT - 1, NEXT)
        assert version == NEXT or not told.get("made"), "a migration that was acknowledged did not happen"
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert ("palette" in tables) == (version == NEXT), "half of a migration"
    with closing(migrate(home)) as db:
        jobs = db.execute("SELECT count(*) FROM job").fetchone()[0]
        assert jobs > 3
        assert db.execute("SELECT count(*) FROM palette").fetchone()[0] == jobs
    copy = home / f"{LEDGER}.v{NEXT - 1}.bak"
    with closing(sqlite3.connect(copy)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (NEXT - 1,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("SELECT count(*) FROM job").fetchone()[0] == jobs, "the copy is not what was there"


PARTS = {
    "work": Part(_nothing, _work, _judge_work),
    "recover": Part(_died, _recover, _judge_work),
    "backup": Part(_worked, _back_up, _judge_backup),
    "restore": Part(_two_states, _restore, _judge_restore),
    "migrate": Part(_worked, _migrate, _judge_migrate),
}


# -- one run under strace


@dataclass
class Run:
    """What a part told its client, how it ended, and which calls it made."""

    told: dict[str, Any] = field(default_factory=dict)
    ended: str = "killed"
    """ok; said (it ended itself, in one sentence); killed"""
    message: str = ""
    calls: Counter[str] = field(default_factory=Counter)
    injected: bool = False


def traced(part: Part, home: Path, inject: str = "") -> Run:
    """Run the part in a process of its own that strace holds on to."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        ours.close()
        _child(part, home, theirs)
    theirs.close()
    log = home.parent / "strace"
    options = [
        *(["-e", f"inject={inject}"] if inject else []),
        "-e",
        f"trace={','.join(CALLS)}",
        "-o",
        str(log),
    ]
    tracer = subprocess.Popen(["strace", *options, "-p", str(pid)], stderr=subprocess.PIPE, text=True)
    try:
        assert tracer.stderr is not None
        said = tracer.stderr.readline()
        assert "attached" in said, f"strace: {said}"
        ours.send(b"go")
        run = Run()
        ours.settimeout(60)
        while message := ours.recv(1 << 20):
            told = json.loads(message)
            run.ended, run.message = told.pop("ended", run.ended), told.pop("message", run.message)
            run.told |= told
    finally:
        ours.close()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        tracer.wait(20)
        tracer.stderr.close() if tracer.stderr else None
    run.told["ended"] = run.ended
    for line in log.read_text(errors="replace").splitlines():
        if call := re.match(r"(\w+)\(", line):
            run.calls[call[1]] += 1
        run.injected = run.injected or "(INJECTED)" in line or "SIGKILL" in line
    return run


def _child(part: Part, home: Path, client: socket.socket) -> None:
    def tell(**facts: Any) -> None:
        client.send(json.dumps(facts).encode())

    code = 0
    try:
        client.recv(2)
        os.closerange(client.fileno() + 1, client.fileno() + 64)
        part.run(home, tell)
        tell(ended="ok")
    except Exception as error:
        tell(ended="said", message="; ".join(sentences(error, home)))
        code = 1
    finally:
        os._exit(code)


# -- every point


@dataclass(frozen=True)
class Point:
    part: str
    call: str
    nth: int
    fault: str

    def __str__(self) -> str:
        return f"{self.part} {self.call} {self.nth} {self.fault}"

    @property
    def inject(self) -> str:
        what = f"signal={self.fault}" if self.fault.startswith("SIG") else f"error={self.fault}"
        return f"{self.call}:{what}:when={self.nth}"


class Bench:
    """State folders prepared once, and copied for each point."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sentences: Counter[str] = Counter()
        """What was said when the farm ended itself; paths and figures left out."""
        self._number = 0
        for name, part in PARTS.items():
            (folder / name).mkdir()
            part.prepare(folder / name / "home")

    def copy(self, part: str) -> Path:
        self._number += 1
        base = self.folder / f"{part}-{os.getpid()}-{self._number}"
        shutil.copytree(self.folder / part, base)
        return base

    def count(self) -> dict[str, Counter[str]]:
        """How many calls of each kind a part makes when nothing goes wrong."""
        counts = {}
        for name, part in PARTS.items():
            base = self.copy(name)
            run = traced(part, base / "home")
            assert run.ended == "ok", f"{name}: {run.message}"
            part.judge(base / "home", run.told)
            counts[name] = run.calls
            shutil.rmtree(base)
        return counts

    def strike(self, point: Point) -> str:
        """How it ended; raises AssertionError where a promise was broken."""
        part, base = PARTS[point.part], self.copy(point.part)
        try:
            run = traced(part, base / "home", point.inject)
            if not run.injected:
                return "not reached"
            assert run.ended != "said" or "should not have happened" not in run.message, run.message
            part.judge(base / "home", run.told)
            if run.ended == "said":
                self.sentences[re.sub(r"/[^ :]+/|\d+", "", run.message)] += 1
            return run.ended
        except Exception as error:
            raise AssertionError(
                f"{point}: {error!r}; replay: python -m tests.resilience.boundaries {point}"
            ) from error
        finally:
            shutil.rmtree(base, ignore_errors=True)


def points(counts: dict[str, Counter[str]]) -> Iterator[Point]:
    """Each call of each kind of each part, with each fault that it can meet."""
    for part, calls in counts.items():
        for call in CALLS:
            for nth in range(1, calls[call] + 1):
                for fault in FAULTS:
                    if fault != "ENOSPC" or call in NO_ROOM:
                        yield Point(part, call, nth, fault)


@dataclass
class Struck:
    """What came of many points."""

    ended: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    """(part, call, fault, how it ended)"""
    sentences: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)


def strike_all(chosen: list[Point]) -> Struck:
    """One after the other, in this process."""
    struck = Struck()
    with unlogged(), tempfile.TemporaryDirectory(dir=fast_folder(), prefix="farm-points-") as folder:
        bench = Bench(Path(folder))
        for point in chosen:
            try:
                struck.ended[point.part, point.call, point.fault, bench.strike(point)] += 1
            except AssertionError as error:
                struck.ended[point.part, point.call, point.fault, "broken"] += 1
                struck.broken.append(str(error))
        struck.sentences = bench.sentences
    return struck


def count_all() -> dict[str, Counter[str]]:
    with unlogged(), tempfile.TemporaryDirectory(dir=fast_folder(), prefix="farm-points-") as folder:
        return Bench(Path(folder)).count()


def strike_in_parallel(chosen: list[Point]) -> Struck:
    """As `strike_all`, on all cores: the points are dealt out like cards."""
    whole = Struck()
    n = len(os.sched_getaffinity(0))
    hands = [chosen[i :: n * 4] for i in range(n * 4)]
    with multiprocessing.get_context("spawn").Pool(n) as pool:
        for some in pool.imap_unordered(strike_all, [hand for hand in hands if hand]):
            whole.ended.update(some.ended)
            whole.sentences.update(some.sentences)
            whole.broken += some.broken
    return whole


def figures(struck: Struck, took_s: float) -> dict[str, Any]:
    """For a report: of each part, call and fault how often it was struck and how that ended."""
    rows: dict[tuple[str, str, str], Counter[str]] = {}
    for (part, call, fault, end), n in struck.ended.items():
        rows.setdefault((part, call, fault), Counter())[end] += n
    return {
        "points": struck.ended.total(),
        "took_s": round(took_s),
        "rows": [
            {"part": part, "call": call, "fault": fault, "points": ends.total(), **ends}
            for (part, call, fault), ends in sorted(rows.items())
        ],
        "sentences": dict(struck.sentences.most_common()),
        "broken": struck.broken,
    }


def told(found: dict[str, Any]) -> Iterator[str]:
    """The figures for a reader."""
    yield f"{found['points']:,} points struck in {found['took_s']} s, {len(found['broken'])} promises broken"
    sums: dict[tuple[str, str], Counter[str]] = {}
    for row in found["rows"]:
        ends = {end: n for end, n in row.items() if end not in ("part", "call", "fault", "points")}
        sums.setdefault((row["part"], row["fault"]), Counter()).update(ends)
    yield f"{'part':<9}{'fault':<9}{'points':>7}{'killed':>8}{'ended itself':>14}{'went on':>9}{'not reached':>13}"
    for (part, fault), ends in sums.items():
        counts = [ends[end] for end in ("killed", "said", "ok", "not reached")]
        yield f"{part:<9}{fault:<9}{ends.total():>7}" + "".join(
            f"{n:>{width}}" for n, width in zip(counts, (8, 14, 9, 13), strict=True)
        )
    calls: Counter[str] = Counter()
    for row in found["rows"]:
        calls[row["call"]] += row["points"]
    yield "calls: " + ", ".join(f"{call} {n:,}" for call, n in calls.most_common())
    yield "what it said most often when it ended itself:"
    for sentence, n in list(found["sentences"].items())[:8]:
        yield f"  {n:>5}  {sentence}"
    yield from found["broken"][:20]


def main() -> None:
    words = sys.argv[1:]
    if not words:
        for part, calls in count_all().items():
            print(part, dict(calls))  # noqa: T201
        return
    if words[0] != "all":
        part, call, nth, fault = words
        with unlogged(), tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
            print(Bench(Path(folder)).strike(Point(part, call, int(nth), fault)))  # noqa: T201
        return
    began = time.monotonic()
    chosen = list(points(count_all()))[:: int(words[1]) if len(words) > 1 else 1]
    struck = strike_in_parallel(chosen)
    print("\n".join(told(figures(struck, time.monotonic() - began))))  # noqa: T201
    sys.exit(bool(struck.broken))


if __name__ == "__main__":
    main()
