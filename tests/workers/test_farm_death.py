"""However the farm dies, nothing of it lives on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from farm.workers import proc, reaper
from tests.support.wait import until
from tests.workers.conftest import living, noted

ROOT = Path(__file__).parents[2]


@contextmanager
def host(tmp_path: Path, *connectors: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.workers.host", str(tmp_path), str(tmp_path / "pids"), *connectors]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def ready(process: subprocess.Popen[str]) -> tuple[int, list[int], list[str]]:
    """(guard, processes of the farm, semaphores) once all is at work."""
    assert process.stdout is not None
    guard, own, semaphores = process.stdout.readline().rstrip("\n").split(" ")
    return int(guard), [int(pid) for pid in own.split(",")], semaphores.split(",")


def nobody(home: Path) -> bool:
    """Looks often: a chain of forks may slip through one look, not through twenty."""
    return not any(list(reaper.strays(str(home))) for _ in range(20))


def test_five_seconds_after_a_kill_of_the_farm_no_process_lives(tmp_path: Path) -> None:
    """Not one that holds the GIL, is stopped, hides in a session or an empty environment, or forks on."""
    with host(tmp_path, "Gil", "Stop", "Deaf", "Forks", "Hang") as farm:
        _, own, semaphores = ready(farm)
        until(lambda: len(living(own + noted(tmp_path / "pids"))) > 60, 10.0, what="all trees have grown")
        pids = own + noted(tmp_path / "pids")
        assert len([s for s in semaphores if Path(s).exists()]) >= 10
        farm.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        until(lambda: not living(pids), 5.0)
        until(lambda: nobody(tmp_path), killed + 5.0 - time.monotonic())
        until(lambda: not [s for s in semaphores if Path(s).exists()], killed + 5.0 - time.monotonic())


def test_a_farm_killed_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    for delay_s in (0.15, 0.3, 0.45, 0.6):
        with host(tmp_path, "Hang") as farm:
            time.sleep(delay_s)
            farm.send_signal(signal.SIGKILL)
            farm.wait()
            until(lambda: not list(reaper.strays(str(tmp_path))), 5.0)


def test_without_a_guard_the_workers_still_end_with_the_farm(tmp_path: Path) -> None:
    with host(tmp_path, "Gil", "Stop", "Deaf") as farm:
        guard, own, _ = ready(farm)
        os.kill(farm.pid, signal.SIGSTOP)  # so that it posts no other guard
        os.kill(guard, signal.SIGKILL)
        farm.send_signal(signal.SIGKILL)
        until(lambda: not living(own), 5.0)
        # What those hid who died before they could take their trees along, the next start finds.
        reaper.sweep(str(tmp_path))
        assert not list(reaper.strays(str(tmp_path)))


def test_a_start_sweeps_what_an_earlier_farm_left(tmp_path: Path) -> None:
    mark = f"{reaper.mark_of(str(tmp_path))}.earlier:1"
    stray = subprocess.Popen(["sleep", "600"], env={**os.environ, reaper.MARKER: mark})
    other = subprocess.Popen(["sleep", "600"], env={**os.environ, reaper.MARKER: "0123456789ab.earlier:1"})
    try:
        assert [pid for pid, _ in reaper.strays(str(tmp_path))] == [stray.pid]
        assert reaper.sweep(str(tmp_path)) == 1
        assert stray.wait(1.0) == -signal.SIGKILL
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_process_that_got_the_number_of_a_dead_one_is_let_be(tmp_path: Path) -> None:
    innocent = subprocess.Popen(["sleep", "600"])
    try:
        found = proc.stat(innocent.pid)
        assert found is not None
        assert reaper.kill_tree(innocent.pid, found.start - 1)
        assert innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()
