"""A farm on a small disk of its own that somebody else fills up; in a mount namespace, gone with this process.

    unshare --mount python -m tests.resilience.small_disk SCENARIO [SEED]

Runs the scenario and prints what it saw as JSON; an AssertionError where the farm broke a promise.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from farm.doctor import examine
from farm.errors import FarmError
from farm.reserve import Reserve
from tests.support.farms import Farm, misbehaving
from tests.support.wait import until

DISK_BYTES = 160 * 1024 * 1024
MIB = 1024 * 1024
SLOW_S = 60.0


class Disk:
    """A tmpfs, and a file on it that takes what is left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)], check=True)
        self.ballast = folder / "ballast"

    def free(self) -> int:
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    def fill(self, leave_bytes: int = 0) -> None:
        """Somebody else writes until only so much is left."""
        with self.ballast.open("ab") as file:
            while (more := self.free() - leave_bytes) > 0:
                try:
                    os.write(file.fileno(), b"\0" * min(more, MIB))
                except OSError:
                    return

    def clear(self) -> None:
        self.ballast.unlink(missing_ok=True)

    @contextlib.contextmanager
    def greedy(self) -> Iterator[None]:
        """Somebody who takes every byte that comes free."""
        over = threading.Event()

        def grab() -> None:
            while not over.wait(0.01):
                self.fill()

        thread = threading.Thread(target=grab)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


class Client:
    """Hands in units, and remembers which were acknowledged."""

    def __init__(self, farm: Farm) -> None:
        self.farm = farm
        self.acknowledged: list[str] = []
        self.refused: list[str] = []
        self._asked = 0

    def submit(self, n: int = 5) -> bool:
        keys = [f"good{self._asked + i}" for i in range(n)]
        self._asked += n
        try:
            self.farm.call("submit", source="slow", jobs=[{"key": key, "version": "1"} for key in keys])
        except FarmError as error:
            self.refused.append(str(error))
            return False
        self.acknowledged += keys
        return True

    def judge(self) -> None:
        """What was acknowledged has landed, once, and nothing else is out of order."""
        farm = self.farm
        until(lambda: set(farm.jobs()) <= {"succeeded"}, SLOW_S, what=f"{farm.jobs()} {farm.said()}")
        wanted = sorted(self.acknowledged)
        keys = [
            key for (key,) in farm.store("SELECT key FROM document WHERE deleted_at IS NULL ORDER BY key")
        ]
        assert set(wanted) <= set(keys), f"acknowledged and lost: {set(wanted) - set(keys)}"
        assert len(keys) == len(set(keys)), "landed twice"
        wrong = [each for each in examine(farm.home, farm.config) if not each.ok]
        assert not [each for each in wrong if "room" not in each.check], wrong


def _farm(disk: Disk) -> Farm:
    source = misbehaving("Sleeps", options={"sleep_s": 0.05}, profile={"batch": 4}, retry={"class": "fast"})
    return Farm(disk.folder / "home", {"slow": source})


def _pressed(farm: Farm) -> bool:
    try:
        return bool(farm.call("status_live")["pressed"])
    except FarmError as full:  # nothing at all can be written just now, and so nothing is answered
        assert "no space left" in str(full), full
        return False


def pressed(disk: Disk, chance: random.Random) -> dict[str, Any]:
    """The disk runs full under work, and empties again: the farm says so, holds, and goes on by itself."""
    with _farm(disk).start() as farm:
        client = Client(farm)
        reserve = Reserve(farm.home)
        assert reserve.held == reserve.bytes > MIB
        for _ in range(6):
            client.submit()
        until(lambda: farm.jobs().get("succeeded", 0) > 3, SLOW_S)
        disk.fill(leave_bytes=chance.randrange(0, MIB))
        until(lambda: _pressed(farm), SLOW_S, what="pressed")
        began = time.monotonic()
        assert not reserve.held
        assert not client.submit(), "intake was not stopped"
        assert "disk is full" in client.refused[-1]
        status = farm.json("status")
        assert "disk is full" in status["farm"]["pressed"]
        until(lambda: not farm.jobs().get("running"), SLOW_S, what="running jobs end with the reserve's room")
        waits = [id_ for (id_,) in farm.ledger("SELECT id FROM job WHERE state = 'pending' LIMIT 1")]
        for job_id in waits:
            assert "disk is full" in farm.json("jobs", "explain", str(job_id))["sentence"]
        log = (farm.home / "logs" / "farm.log").read_text()
        assert log.count("farm.pressed") == 1, log
        disk.clear()
        until(lambda: not _pressed(farm), SLOW_S, what="relieved")
        until(lambda: client.submit(), SLOW_S)
        client.judge()
        assert reserve.held == reserve.bytes
        assert farm.stop() == 0
        return {
            "acknowledged": len(client.acknowledged),
            "refused": len(client.refused),
            "pressed_s": round(time.monotonic() - began, 2),
        }


def overwhelmed(disk: Disk, chance: random.Random) -> dict[str, Any]:
    """Somebody takes even the reserve's room: nothing is acknowledged that could not be written."""
    with _farm(disk).start() as farm:
        client = Client(farm)
        for _ in range(6):
            client.submit()
        time.sleep(chance.uniform(0, 0.3))  # the moment is what chance decides
        with disk.greedy():
            until(lambda: _pressed(farm), SLOW_S, what="pressed")
            deadline = time.monotonic() + chance.uniform(1, 3)
            while time.monotonic() < deadline:
                client.submit()
                with contextlib.suppress(FarmError):  # a small write that may or may not find room
                    farm.call("pause_source", name="slow")
                    farm.call("resume_source", name="slow")
                time.sleep(0.05)
            assert farm.process is not None
            assert farm.process.poll() is None, farm.said()
        disk.clear()
        until(lambda: not _pressed(farm), SLOW_S, what="relieved")
        with contextlib.suppress(FarmError):
            farm.call("resume_source", name="slow")
        until(lambda: client.submit(), SLOW_S)
        client.judge()
        return {"acknowledged": len(client.acknowledged), "refused": len(client.refused)}


def killed(disk: Disk, chance: random.Random) -> dict[str, Any]:
    """Killed while pressed, started again with and without room."""
    with _farm(disk).start() as farm:
        client = Client(farm)
        for _ in range(6):
            client.submit()
        disk.fill(leave_bytes=chance.randrange(0, MIB))
        until(lambda: _pressed(farm), SLOW_S, what="pressed")
        client.submit()
        time.sleep(chance.uniform(0, 0.3))  # the moment is what chance decides
        farm.kill()
        until(lambda: not farm.processes(), 10)
        with disk.greedy():
            time.sleep(0.1)  # the disk is full to the last byte now
            done = farm.cli("start", "--no-progress", "--drain")
            assert done.returncode != 0, done
            assert len(done.stderr.strip().splitlines()) == 1, done.stderr
            assert "space" in done.stderr or "full" in done.stderr or "room" in done.stderr, done.stderr
        disk.clear()
        farm.start()
        client.judge()
        return {"acknowledged": len(client.acknowledged), "said": done.stderr.strip()}


def stopped(disk: Disk, chance: random.Random) -> dict[str, Any]:
    """Stopped while pressed: it ends in time, and the next start has all that was acknowledged."""
    with _farm(disk).start() as farm:
        client = Client(farm)
        for _ in range(6):
            client.submit()
        time.sleep(chance.uniform(0, 0.3))  # the moment is what chance decides
        with disk.greedy():
            until(lambda: _pressed(farm), SLOW_S, what="pressed")
            code = farm.stop(timeout_s=30)
        assert "Traceback" not in farm.output.read_text(), farm.said()
        disk.clear()
        farm.start()
        until(lambda: client.submit(), SLOW_S)
        client.judge()
        return {"acknowledged": len(client.acknowledged), "code": code}


SCENARIOS: dict[str, Callable[[Disk, random.Random], dict[str, Any]]] = {
    scenario.__name__: scenario for scenario in (pressed, overwhelmed, killed, stopped)
}


def main() -> None:
    name, seed = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory(prefix="farm-disk-") as folder:
        disk = Disk(Path(folder))
        try:
            print(json.dumps(SCENARIOS[name](disk, random.Random(seed))))  # noqa: T201
        finally:
            subprocess.run(["umount", "-l", folder], check=False)


if __name__ == "__main__":
    main()
