"""What can be wrong from outside: one clear sentence each, a non-zero exit, and nothing lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.farms import ROOT, Farm, local_files, misbehaving


def assert_one_sentence(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode not in (0, None)
    assert "Traceback" not in done.stderr + done.stdout
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0]


def test_all_configuration_errors_come_at_once(tmp_path: Path) -> None:
    with Farm(tmp_path / "home", {}) as farm:
        farm.config.write_text(
            '[farm]\nworkers = 99\n[sources.a]\nconnector = "local_flies"\n'
            '[sources.b]\nconnector = "local_files"\nevery = "5 parsecs"\n[sources.b.options]\npaht = "x"\n'
        )
        done = farm.cli("start")
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        for word in ("workers", "local_files", "every", "path"):
            assert word in done.stderr
        assert len(done.stderr.strip().splitlines()) >= 4


def test_a_toml_that_does_not_parse_is_named_with_its_line(tmp_path: Path) -> None:
    with Farm(tmp_path / "home", {}) as farm:
        farm.config.write_text("[farm\n")
        assert_one_sentence(farm.cli("start"), "line 1")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with Farm(tmp_path / "home", {"notes": local_files(tmp_path / "nowhere")}) as farm:
        done = farm.cli("sources", "check", "notes")
        assert done.returncode == 1
        assert "nowhere" in done.stderr + done.stdout
        assert_one_sentence(farm.cli("add", str(tmp_path / "nothing")), "nothing")


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    command = [sys.executable, "-m", "farm.cli", "--home", str(tmp_path / "file"), "status"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "is a file" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder that root itself cannot write")
def test_a_read_only_state_folder_is_refused(tmp_path: Path) -> None:
    """A read-only mount: what not even root may write to."""
    with Farm(tmp_path / "home", {"noop": misbehaving("Noop", "a")}) as farm:
        assert farm.drain() == 0
        mount = ["unshare", "--mount", "sh", "-c"]
        inside = (
            f"mount --bind {farm.home} {farm.home} && mount -o remount,ro,bind {farm.home} && "
            f"exec {sys.executable} -m farm.cli --home {farm.home} start --drain"
        )
        done = subprocess.run(
            [*mount, inside], cwd=ROOT, env=farm.environment, capture_output=True, text=True, check=False
        )
        assert_one_sentence(done, str(farm.home))
        assert farm.jobs() == {"succeeded": 2}


@pytest.mark.parametrize("name", ["ledger.db", "store.db"])
def test_a_corrupt_database_is_refused_and_kept(tmp_path: Path, name: str) -> None:
    with Farm(tmp_path / "home", {"noop": misbehaving("Noop", "a")}) as farm:
        assert farm.drain() == 0
        garbage = b"\x00garbage" * 4096
        (farm.home / name).write_bytes(garbage)
        for ending in ("-wal", "-shm"):
            (farm.home / f"{name}{ending}").unlink(missing_ok=True)
        done = farm.cli("start", "--drain", "--no-progress")
        assert_one_sentence(done, name, "restore")
        assert (farm.home / name).read_bytes() == garbage


def test_a_full_disk_stops_the_farm_with_a_sentence_and_loses_nothing(tmp_path: Path) -> None:
    """A small file system of its own, filled to the brim while the farm works."""
    folder = tmp_path / "documents"
    folder.mkdir()
    for i in range(60):
        (folder / f"big{i}.txt").write_text(f"number{i} " + os.urandom(60_000).hex())
    inside = (
        f"mount -t tmpfs -o size=3m tmpfs {tmp_path}/small && cp {tmp_path}/farm.toml {tmp_path}/small/ && "
        f"{sys.executable} -m farm.cli --home {tmp_path}/small start --drain --no-progress; code=$?; "
        f"mount -o remount,size=200m {tmp_path}/small; "
        f"{sys.executable} -m farm.cli --home {tmp_path}/small start --drain --no-progress; echo second $?; "
        f"{sys.executable} -m farm.cli --home {tmp_path}/small doctor; echo doctor $?; "
        f"{sys.executable} -m farm.cli --home {tmp_path}/small documents list --format json --limit 100"
        f" | grep -o '\"key\"' | wc -l; exit $code"
    )
    (tmp_path / "small").mkdir()
    with Farm(tmp_path / "home", {"notes": local_files(folder)}) as farm:
        (tmp_path / "farm.toml").write_text(farm.config.read_text())
        if os.geteuid() == 0:
            command = ["unshare", "--mount", "sh", "-c", inside]
        else:
            command = ["unshare", "--mount", "--map-root-user", "sh", "-c", inside]
        done = subprocess.run(
            command, cwd=ROOT, env=farm.environment, capture_output=True, text=True, check=False, timeout=100
        )
        assert done.returncode == 1, done.stdout + done.stderr
        assert "no space left" in done.stderr
        assert "Traceback" not in done.stderr
        assert "second 0" in done.stdout, done.stdout + done.stderr
        assert "doctor 0" in done.stdout, done.stdout + done.stderr
        assert done.stdout.strip().splitlines()[-1] == "60", done.stdout + done.stderr
