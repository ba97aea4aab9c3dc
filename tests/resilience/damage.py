"""Damage: pages of the databases flipped one by one, logs cut short, spools that vanish, half a farm.toml.

The farm may refuse with a sentence, or recover; it may not go on as if nothing were, show a traceback, or throw
the damaged copy away. One command brings back the backup, identical by content hash.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from farm.connector import Document
from farm.core.job import Stage
from farm.doctor import examine
from farm.fingerprint import fingerprint
from farm.store.landing import Landing
from farm.store.store import Store
from tests.resilience.harness import Report, World, scene, told, until
from tests.resilience.oracle import text_of
from tests.support.farms import Farm, local_files

NAME = "damage"
DATABASES = ("ledger.db", "store.db")
PROFILE = {"cpu": 0.1, "memory": "128MB", "batch": 16}
RETRY = {"max_attempts": 2, "base": "50ms", "max": "50ms"}
STARTS = 4
"""Of the flipped pages, at most so many more of each database are also given to `farm start` and `farm restore`."""


def sources(base: Path, chance: random.Random) -> dict[str, dict[str, Any]]:
    folder = base / "folder"
    folder.mkdir(parents=True)
    for n in range(40):
        (folder / f"{n}.txt").write_text(f"file {n} " + " ".join(chance.choices(WORDS, k=200)))
    return {
        "work": told(base, "Told", profile=PROFILE, retry=RETRY),
        "tape": told(base, "Tape", profile=PROFILE, retry=RETRY, options={"step": 50}),
        "notes": local_files(folder, profile={**PROFILE, "memory": "256MB"}, retry=RETRY),
    }


WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "lmnrst"]


def run(seed: int, base: Path, faults: int = 60, *, keep: bool = False) -> Report:
    """So many pages (all of them when there are no more), then each other damage."""
    with scene(NAME, seed, base, sources, keep=keep) as world:
        world.report.skipped["single flipped bits"] = (
            "SQLite keeps no checksums: a bit inside a value that no index and no rule speaks of is not seen"
        )
        _fill(world)
        saved = world.base / "backup"
        done = world.farm.cli("backup", str(saved))
        assert done.returncode == 0, done.stderr
        prints = {name: _print(world.home / name) for name in DATABASES}
        original = world.base / "original"
        shutil.copytree(world.home, original, ignore=_sockets)
        _late(world)
        _settings(world)
        for name in DATABASES:
            for _ in range(max(1, faults // 30)):
                _cut_log(world, name)
        _lose_spools(world)
        for name in DATABASES:
            _flip_pages(world, original, saved, prints, name, faults // 2)
        world.drain()
        if not world.report.problems:
            world.settle()
    return world.report


def _fill(world: World) -> None:
    world.start()
    for _ in range(6):
        world.submit("work", [world.key(kind) for kind in ["ok"] * 30 + ["bad", "retry"]])
    for source in ("tape", "notes"):
        world.farm.call("run", source=source)
    world.idle()
    assert world.farm.stop() == 0, world.farm.said()


def _print(path: Path) -> dict[str, Any]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return fingerprint(db)


def _flip_pages(
    world: World, original: Path, saved: Path, prints: dict[str, dict[str, Any]], name: str, most: int
) -> None:
    with closing(sqlite3.connect(original / name)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = db.execute("PRAGMA page_size").fetchone()[0]
        count = db.execute("PRAGMA page_count").fetchone()[0]
    for ending in ("-wal", "-shm"):
        (original / f"{name}{ending}").unlink(missing_ok=True)
    pages = list(range(count))
    if count > most:
        pages = sorted({0, 1, 2, *world.chance.sample(pages, most - 3)})
    tried = {0, *world.chance.sample(pages, max(1, min(STARTS, len(pages) // 3)))}
    home = world.base / "flipped"
    for page in pages:
        _copy(original, home)
        with (home / name).open("r+b") as file:
            file.seek(page * size)
            raw = file.read(size)
            file.seek(page * size)
            file.write(bytes(byte ^ 0xFF for byte in raw))
        world.report.faults[f"flipped page of {name}"] += 1
        seen = _is_seen(home, name, prints[name])
        world._complain(
            "doctor", [] if seen else [f"page {page + 1} of {count} of {name} was flipped unseen"]
        )
        if page in tried:
            _start_and_restore(world, home, saved, prints, name)
    shutil.rmtree(home, ignore_errors=True)


def _copy(home: Path, copy: Path) -> None:
    """A farm's state as it is; what a farm on the copy does is none of the oracle's business."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(home, copy, ignore=_sockets)
    config = copy / "farm.toml"
    config.write_text(config.read_text().replace("effects.jsonl", "elsewhere.jsonl"))


def _sockets(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if Path(folder, name).is_socket()]


def _is_seen(home: Path, name: str, whole: dict[str, Any]) -> bool:
    """The doctor says so; or nothing of what the file holds was hit (a free page)."""
    if any(not finding.ok for finding in examine(home, None)):
        return True
    try:
        return _print(home / name) == whole
    except sqlite3.DatabaseError:
        return False


def _start_and_restore(
    world: World, home: Path, saved: Path, prints: dict[str, dict[str, Any]], name: str
) -> None:
    """A start refuses in one sentence, or works and harms nothing else; one command brings everything back."""
    with Farm(home) as farm:
        code = farm.drain(60)
        said = farm.output.read_text() if farm.output.exists() else ""
        farm.output.unlink(missing_ok=True)
        wrong = []
        if code not in (0, 1, 3) or "Traceback" in said:
            wrong.append(f"start on a damaged {name} ended with {code}: {said[-400:]}")
        elif code == 1 and name not in said:
            wrong.append(f"the refusal does not name {name}: {said[-400:]}")
        world.report.faults[f"start on a damaged {name}: {'refused' if code == 1 else 'worked'}"] += 1
        before = (home / name).read_bytes()
        done = farm.cli("restore", str(saved), "--force")
        if done.returncode != 0:
            wrong.append(f"restore ended with {done.returncode}: {done.stderr[-400:]}")
        for other in DATABASES:
            if _print(home / other) != prints[other]:
                wrong.append(f"{other} is not what was backed up")
        kept = [path.read_bytes() for path in home.glob(f"replaced-*/{name}")]
        if before not in kept:
            wrong.append(f"the damaged {name} was not kept")
        world._complain("restore", wrong)


def _settings(world: World) -> None:
    """farm.toml as an editor leaves it that died while it wrote."""
    whole = world.farm.config.read_bytes()
    world.start()
    for cut in sorted(world.chance.sample(range(1, len(whole)), 6)):
        world.farm.config.write_bytes(whole[:cut])
        done = world.farm.cli("reload")
        world.report.faults["half-written farm.toml"] += 1
        wrong = [] if "Traceback" not in done.stderr and done.returncode in (0, 1) else [done.stderr[-400:]]
        world._complain("settings", wrong)
    world.farm.config.write_bytes(whole)
    assert world.farm.cli("reload").returncode == 0
    world.submit("work", [world.key("ok")])
    world.idle()
    assert world.farm.stop() == 0
    world.farm.config.write_bytes(whole[: len(whole) // 2])
    done = world.farm.cli("start", "--drain")
    wrong = [] if "Traceback" not in done.stderr and done.returncode in (0, 1, 3) else [done.stderr[-400:]]
    world.report.faults["half-written farm.toml"] += 1
    world._complain("settings", wrong)
    world.farm.config.write_bytes(whole)
    world.look()


def _cut_log(world: World, name: str) -> None:
    """A farm is killed, and the end of what it had written is not there: what is left must fit together.

    What was acknowledged in the lost part is lost with it: so the oracle is not asked about that, but the farm
    must see for itself, and go on without calling anything landed that has not.
    """
    copy = world.base / "cut"
    world.start()
    keys = [world.key("ok") for _ in range(30)]
    world.submit("work", keys[:10])
    world.farm.call("run", source="tape")
    until(lambda: world.farm.store("SELECT 1 FROM document WHERE unit = ?", keys[9]), 20)
    world.submit("work", keys[10:])
    time.sleep(world.chance.uniform(0.0, 0.1))
    world.farm.kill()
    until(lambda: not world.farm.processes(), 5)
    _copy(world.home, copy)
    wal = copy / f"{name}-wal"
    size = wal.stat().st_size if wal.exists() else 0
    with wal.open("r+b") if size else open("/dev/null") as file:
        if size:
            file.truncate(world.chance.randrange(size // 2))  # what lies behind is often of a round before
    (copy / f"{name}-shm").unlink(missing_ok=True)
    world.report.faults[f"{name}-wal cut short"] += 1
    with Farm(copy) as farm:
        farm.start()
        more = [f"ok-after-{n}" for n in range(40)]
        try:
            farm.call("submit", source="work", jobs=[{"key": key, "version": "1"} for key in more])
            until(
                lambda: (
                    not farm.ledger("SELECT 1 FROM job WHERE state IN ('pending', 'running', 'retrying')")
                ),
                30,
                every_s=0.05,
                what=f"an end\n{farm.said()}",
            )
            landed = {key for (key,) in farm.store("SELECT unit FROM document WHERE deleted_at IS NULL")}
            missing = [f"{key} is called succeeded and is not there" for key in more if key not in landed]
            world._complain("log cut short", missing)
            assert farm.stop() == 0
            if name == "ledger.db":  # of a store cut short, the doctor must say what is missing
                wrong = [
                    f.detail for f in examine(copy, None) if not f.ok and f.check not in UNKNOWN_TO_THE_LEDGER
                ]
                world._complain("doctor", wrong)
        finally:
            farm.close()
    shutil.rmtree(copy, ignore_errors=True)
    (world.base / "cut.out").unlink(missing_ok=True)


UNKNOWN_TO_THE_LEDGER = {"every document and record is of a job that succeeded"}
"""Of a ledger that lost its end, the store knows more: the doctor says so, and is right."""


def _lose_spools(world: World) -> None:
    """A farm is killed, and with it go the spools of what it was about."""
    for _ in range(3):
        world.start()
        world.submit("work", [world.key("ok") for _ in range(200)])
        until(lambda: list(_spools(world)), 10, every_s=0.001)
        world.farm.kill()
        until(lambda: not world.farm.processes(), 5)
        lost = list(_spools(world))
        for path in lost:
            if world.chance.random() < 0.5:
                path.unlink()
            else:
                path.write_bytes(path.read_bytes()[: world.chance.randrange(path.stat().st_size + 1)])
        world.report.faults["spool lost or cut short"] += len(lost)
        world.look(doctor=False)


def _late(world: World) -> None:
    """An attempt that was overtaken, of a farm that thinks it still lives, lands after the one that overtook it."""
    source, unit, fence = world.farm.store(
        "SELECT source, unit, max(fence) FROM document WHERE source = 'work' AND deleted_at IS NULL"
    )[0]
    landing = Landing(
        source=source,
        job_id=1,
        attempt_id=0,
        stage=Stage.EXTRACT,
        key=unit,
        version="0",
        lines=[Document(key=unit, text="the words of long ago")],
    )
    with Store.open(world.home / "store.db") as store:
        (landed,) = store.land([landing])
    world.report.faults["an overtaken attempt lands late"] += 1
    said = world.farm.store("SELECT text, fence FROM document WHERE source = ? AND unit = ?", source, unit)
    wrong = [] if said == [(text_of(unit, "1"), fence)] and landed.stale else [f"{unit} says {said}"]
    world._complain("fence", wrong)


def _spools(world: World) -> Iterator[Path]:
    yield from sorted((world.home / "spool").iterdir())
