"""A backup holds one moment of the farm, verified; a restore puts it back whole or not at all."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from farm import home as homes
from farm import swap
from farm.backup import BackupUnusable, backup, restore, verify
from farm.doctor import examine
from farm.errors import FarmError, FarmRunning, NewerSchema
from farm.fingerprint import fingerprint
from farm.home import LEDGER, STORE
from tests.support.farms import ROOT, Farm, local_files
from tests.support.wait import until


def contents(home: Path) -> dict[str, Any]:
    """What is in a state folder, apart from how it lies there."""
    found: dict[str, Any] = {"farm.toml": (home / "farm.toml").read_text()}
    for name in (LEDGER, STORE):
        with closing(sqlite3.connect(home / name)) as db:
            found[name] = fingerprint(db)
    return found


def plant(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(script)


def grow(home: Path) -> None:
    """Work was done after the backup."""
    plant(
        home / LEDGER,
        "INSERT INTO transition (job_id, to_state, event, actor, at)"
        " SELECT 1, 'x', 'x', 'x', max(at) + 1 FROM transition",
    )


@pytest.fixture
def made(home: Path, tmp_path: Path) -> Path:
    """A backup of `home`."""
    return Path(backup(home, tmp_path / "backup").path)


# -- backup


def test_a_backup_holds_what_the_farm_held(home: Path, made: Path) -> None:
    kept, had = contents(made), contents(home)
    assert kept == had
    assert {path.name for path in made.iterdir()} == {LEDGER, STORE, "farm.toml", "spool", "manifest.json"}
    assert made.stat().st_mode & 0o777 == 0o700
    assert (made / LEDGER).stat().st_mode & 0o777 == 0o600
    verify(made)


def test_into_a_folder_that_exists_goes_one_named_by_the_time(home: Path, tmp_path: Path) -> None:
    first, second = backup(home, tmp_path), backup(home, tmp_path)
    assert Path(first.path).parent == tmp_path
    assert Path(first.path).name.startswith("farm-2")
    assert first.path != second.path
    assert (first.jobs, first.documents) == (10, 3)


@pytest.mark.parametrize("place", [".", "backups", "logs/deep"])
def test_no_backup_goes_into_the_state_folder_itself(home: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "link").symlink_to(home)
    before = sorted(home.rglob("*"))
    for way in (home, tmp_path / "link"):
        with pytest.raises(FarmError, match="lies in the state folder"):
            backup(home, way / place)
    assert sorted(home.rglob("*")) == before


def test_a_backup_of_a_farm_at_work_restores_to_one_that_finishes_the_work(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    for n in range(600):
        (notes / f"{n}.md").write_text(f"# note {n}\n\n" + "a line of words\n" * 20)
    with Farm(tmp_path / "home", {"notes": local_files(notes)}) as farm:
        farm.start()
        farm.call("run", source="notes")
        taken = []
        while not taken or farm.jobs().get("pending", 0):
            taken.append(backup(farm.home, tmp_path / "backups" / str(len(taken))))
            if farm.jobs().get("succeeded", 0) == 601:
                break
    some = [each for each in taken if 0 < each.documents < 600] or taken
    for each in {some[0].path, some[-1].path}:
        elsewhere = tmp_path / f"restored-{Path(each).name}"
        restore(elsewhere, Path(each))
        with Farm(elsewhere) as farm:
            assert farm.drain() == 0
            assert farm.store("SELECT count(*) FROM document WHERE deleted_at IS NULL") == [(600,)]
            assert [found for found in examine(elsewhere, farm.config) if not found.ok] == []


def test_a_landed_listing_brings_the_names_of_what_is_still_to_be_read(tmp_path: Path) -> None:
    """Its cursor has moved on: listing again would not name them again."""
    units = 12_000
    table = {"connector": "tests.ops.feed:Feed", "options": {"units": units}, "profile": {"batch": 256}}
    with Farm(tmp_path / "home", {"feed": table}) as farm:
        farm.start()
        farm.call("run", source="feed")
        until(
            lambda: (
                farm.ledger("SELECT 1 FROM job WHERE stage = 'extract' LIMIT 1")
                and farm.ledger("SELECT 1 FROM job WHERE stage = 'discover' AND state = 'running'")
            ),
            every_s=0.001,
        )
        farm.signal(signal.SIGSTOP)
        live = backup(farm.home, tmp_path / "live")
        assert live.jobs < units
        assert list(Path(live.path).glob("spool/*.jsonl"))
    restore(tmp_path / "other", Path(live.path))
    with Farm(tmp_path / "other") as farm:
        farm.start()
        farm.until_jobs(succeeded=units + 1, pending=0, running=0)


def test_a_damaged_database_is_no_backup_and_nothing_is_left_of_it(home: Path, tmp_path: Path) -> None:
    with (home / STORE).open("r+b") as file:
        file.seek(8192)
        file.write(os.urandom(40_000))
    with pytest.raises(FarmError) as refused:
        backup(home, tmp_path / "backups" / "one")
    assert "damaged" in str(refused.value) or "malformed" in str(refused.value)
    assert list((tmp_path / "backups").iterdir()) == []


def test_no_room_for_a_backup_is_one_sentence_and_nothing_is_left(home: Path, tmp_path: Path) -> None:
    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    done = subprocess.run(
        [sys.executable, "-m", "farm.cli", "--home", str(home), "backup", str(tmp_path / "backups" / "one")],
        preexec_fn=small,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "nothing was changed" in done.stderr
    assert list((tmp_path / "backups").iterdir()) == []


def test_there_is_nothing_to_back_up_where_no_farm_has_worked(tmp_path: Path) -> None:
    with pytest.raises(FarmError, match="nothing to back up"):
        backup(tmp_path, tmp_path / "backup")


# -- verify


def test_a_flipped_bit_is_found(made: Path) -> None:
    with (made / STORE).open("r+b") as file:
        file.seek(5000)
        byte = file.read(1)
        file.seek(5000)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(BackupUnusable, match="checksum"):
        verify(made)


def test_a_missing_file_or_manifest_is_found(made: Path, tmp_path: Path) -> None:
    (made / "farm.toml").unlink()
    with pytest.raises(BackupUnusable, match=r"farm.toml: No such file"):
        verify(made)
    (made / "manifest.json").write_text("{")
    with pytest.raises(BackupUnusable, match="manifest"):
        verify(made)
    (made / "manifest.json").unlink()
    with pytest.raises(BackupUnusable, match="no backup"):
        verify(made)


def test_a_folder_of_backups_names_the_newest(home: Path, tmp_path: Path) -> None:
    newest = [backup(home, tmp_path).path for _ in range(2)][-1]
    with pytest.raises(BackupUnusable, match=f"newest is {newest}"):
        verify(tmp_path)


def test_a_manifest_cannot_name_files_elsewhere(made: Path) -> None:
    manifest = json.loads((made / "manifest.json").read_text())
    manifest["files"]["../../outside"] = manifest["files"]["farm.toml"]
    (made / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BackupUnusable, match="does not describe"):
        verify(made)


# -- restore


def test_a_backup_restores_into_an_empty_folder(home: Path, made: Path, tmp_path: Path) -> None:
    done = restore(tmp_path / "new", made)
    assert contents(tmp_path / "new") == contents(home)
    assert done.replaced == ""
    assert [found for found in examine(tmp_path / "new", None) if not found.ok] == []


def test_a_newer_state_is_only_replaced_by_force_and_kept(home: Path, made: Path) -> None:
    before = contents(made)
    grow(home)
    newer = contents(home)
    (home / "spool" / "7.jsonl").write_text("{}\n")
    with pytest.raises(FarmError, match="--force"):
        restore(home, made)
    assert contents(home) == newer
    done = restore(home, made, force=True)
    assert contents(home) == before
    assert contents(Path(done.replaced)) == newer
    assert (Path(done.replaced) / "spool" / "7.jsonl").exists()
    assert list((home / "spool").iterdir()) == []
    assert not swap.is_pending(home)


def test_a_store_that_is_newer_counts_as_newer(home: Path, made: Path) -> None:
    plant(home / STORE, "UPDATE landing SET landed_at = landed_at + 9 WHERE attempt_id = 1")
    with pytest.raises(FarmError, match=r"store.db has changed"):
        restore(home, made)


def test_a_backup_from_before_anything_landed_leaves_nothing_of_what_has(home: Path, tmp_path: Path) -> None:
    early = tmp_path / "early"
    shutil.copytree(home, early)
    (early / STORE).unlink()
    restore(home, Path(backup(early, tmp_path / "backup").path), force=True)
    with closing(sqlite3.connect(home / STORE)) as db:
        assert db.execute("SELECT count(*) FROM document").fetchone() == (0,)


@pytest.mark.parametrize("database", [LEDGER, STORE])
def test_a_damaged_database_is_replaced_and_kept(database: str, home: Path, made: Path) -> None:
    before = contents(home)
    (home / database).write_bytes(b"not a database" * 1000)
    done = restore(home, made)
    assert contents(home) == before
    assert (Path(done.replaced) / database).read_bytes().startswith(b"not a database")


def test_the_log_of_a_killed_farm_does_not_leak_into_the_restored_state(home: Path, made: Path) -> None:
    before = contents(home)
    program = (
        "import os, sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "db.execute('PRAGMA journal_mode = WAL')\n"
        "db.execute('INSERT INTO run (source, type, state, trigger, requested_at)'"
        " \" VALUES ('x', 'x', 'x', 'x', 9e9)\")\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(home / LEDGER)], check=False)
    assert (home / f"{LEDGER}-wal").stat().st_size > 0
    with pytest.raises(FarmError, match="--force"):
        restore(home, made)
    done = restore(home, made, force=True)
    assert contents(home) == before
    with closing(sqlite3.connect(Path(done.replaced) / LEDGER)) as old:
        assert old.execute("SELECT count(*) FROM run WHERE source = 'x'").fetchone() == (1,)


def test_a_running_farm_is_not_restored_over(home: Path, made: Path) -> None:
    with homes.Lock(home), pytest.raises(FarmRunning):
        restore(home, made, force=True)


def test_a_damaged_backup_changes_nothing(home: Path, made: Path) -> None:
    before = contents(home)
    (made / LEDGER).write_bytes(b"")
    with pytest.raises(BackupUnusable):
        restore(home, made, force=True)
    assert contents(home) == before
    assert not list(home.glob("replaced-*"))


def test_a_backup_of_a_newer_farm_is_refused(home: Path, made: Path) -> None:
    manifest = json.loads((made / "manifest.json").read_text())
    manifest["files"][STORE]["schema_version"] = 4711
    (made / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(NewerSchema):
        restore(home, made, force=True)
    plant(home / LEDGER, "PRAGMA user_version = 4711")
    with pytest.raises(NewerSchema):
        backup(home, made.parent / "another")


CHANGES = frozenset({"os.rename", "os.link", "os.mkdir", "os.rmdir", "os.remove", "os.chmod", "open"})


def killed_at(step: int, home: Path, source: Path) -> bool:
    """Restore in a process that is killed before its so many-th change to `home`; False when it came through."""
    pid = os.fork()
    if pid:
        return os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    left, prefix = step, str(home)

    def count(event: str, args: tuple[Any, ...]) -> None:
        nonlocal left
        if event in CHANGES and str(args[0]).startswith(prefix):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    try:
        restore(home, source, force=True)
    finally:
        os._exit(0)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_restore_killed_at_any_step_leaves_the_old_state_or_the_new_one(home: Path, made: Path) -> None:
    restored = contents(made)
    grow(home)
    plant(home / STORE, "DELETE FROM element")
    (home / "farm.toml").write_text("[farm]\nworkers = 3\n")
    old = contents(home)
    seen = []
    step = 0
    while True:
        step += 1
        victim = home.with_name(f"victim{step}")
        shutil.copytree(home, victim)
        if not killed_at(step, victim, made):
            break
        with homes.Lock(victim):
            pass
        now = contents(victim)
        assert now in (old, restored), f"neither old nor new after step {step}"
        assert not swap.is_pending(victim)
        if now == restored:
            (aside,) = victim.glob("replaced-*")
            assert contents(aside) == old
        seen.append(now == restored)
        shutil.rmtree(victim)
    assert seen == sorted(seen), "new, then old again"
    assert False in seen
    assert True in seen
    assert len(seen) > 15
