"""A farm at work whose limits somebody lowers and raises again: file sizes, descriptors, memory, processes.

python -m tests.resilience.limits SCENARIO
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from farm.home import LEDGER
from tests.resilience.small_disk import SLOW_S, Client
from tests.support.farms import Farm, misbehaving
from tests.support.wait import until


def _farm(base: Path, *, sleep_s: float = 0.02, batch: int = 4) -> Farm:
    profile = {"batch": batch}
    source = misbehaving("Sleeps", options={"sleep_s": sleep_s}, profile=profile, retry={"class": "fast"})
    return Farm(base / "home", {"slow": source})


@contextlib.contextmanager
def limited(pid: int, kind: int, most: int) -> Iterator[None]:
    """The soft limit of another process, lowered for a while."""
    before = resource.prlimit(pid, kind)
    resource.prlimit(pid, kind, (most, before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, kind, before)


def _workers(farm: Farm) -> list[int]:
    return [cell["pid"] for cell in farm.call("status_live")["cells"] if cell["pid"]]


def file_size(base: Path) -> dict[str, Any]:
    """The ledger's log may not grow: that is no full disk, so it ends itself, and says why."""
    with _farm(base).start() as farm:
        client = Client(farm)
        for _ in range(4):
            client.submit()
        log = farm.home / f"{LEDGER}-wal"
        with limited(farm.pid, resource.RLIMIT_FSIZE, log.stat().st_size + 20_000):
            until(lambda: not client.submit(40), SLOW_S, what="refused")
            code = farm.wait(SLOW_S)
        said = farm.output.read_text().strip()
        assert code == 1, (code, farm.said())
        assert len(said.splitlines()) == 1, said
        assert "Traceback" not in said
        until(lambda: not farm.processes(), 10)
        farm.start()
        client.judge()
        return {"acknowledged": len(client.acknowledged), "said": said}


def descriptors(base: Path) -> dict[str, Any]:
    """Not one more descriptor, while workers die and clients come: it goes on when there are some again."""
    with _farm(base).start() as farm:
        client = Client(farm)
        for _ in range(8):
            client.submit()
        until(lambda: farm.jobs().get("succeeded", 0) > 2, SLOW_S)
        workers = _workers(farm)
        held = len(os.listdir(f"/proc/{farm.pid}/fd"))
        with limited(farm.pid, resource.RLIMIT_NOFILE, held):
            for pid in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(1.5)  # the time that the shortage lasts
        assert farm.process is not None
        assert farm.process.poll() is None, farm.said()
        until(lambda: client.submit(), SLOW_S, what=farm.said())
        client.judge()
        (attempts,) = farm.ledger("SELECT count(*) FROM attempt")[0]
        assert attempts < 4 * len(client.acknowledged), f"{attempts} attempts: it span"
        return {"acknowledged": len(client.acknowledged), "attempts": attempts}


def memory(base: Path, spare_bytes: int = 1024 * 1024) -> dict[str, Any]:
    """No more memory for the farm's own process than this: it goes on, or it ends itself and says why; and in
    neither case does anybody wait for ever."""
    with _farm(base, sleep_s=0.0, batch=256).start() as farm:
        client = Client(farm)
        for _ in range(4):
            client.submit()
        status = Path(f"/proc/{farm.pid}/status").read_text()
        size = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmSize"))
        deadline = time.monotonic() + 6.0  # the time that the shortage lasts, if nobody gives up before
        assert farm.process is not None
        with limited(farm.pid, resource.RLIMIT_AS, size + spare_bytes):
            while farm.process.poll() is None and time.monotonic() < deadline:
                client.submit(200)
                time.sleep(0.05)
        until(lambda: _ended(farm) or client.submit(), SLOW_S, what=f"answers or ends\n{farm.said()}")
        ended = _ended(farm)
        if ended:
            code = farm.wait(10)
            if code not in (
                -signal.SIGSEGV,
                -signal.SIGABRT,
            ):  # so a library in C may end that finds no memory
                assert code == 1, farm.said()
                assert "no memory left for the farm itself" in farm.output.read_text(), farm.said()
            until(lambda: not farm.processes(), 10)
            farm.start()
        client.judge()
        return {"acknowledged": len(client.acknowledged), "ended": ended}


def _ended(farm: Farm) -> bool:
    return farm.process is None or farm.process.poll() is not None


def _pids() -> Path:
    """Where cgroups with a limit of processes are made (v1; v2)."""
    old = Path("/sys/fs/cgroup/pids")
    return old if old.is_dir() else Path("/sys/fs/cgroup")


def can_limit_processes() -> bool:
    group = _pids() / f"farm-trial-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        return False
    try:
        return (group / "pids.max").exists()
    finally:
        group.rmdir()


def processes(base: Path) -> dict[str, Any]:
    """No process may be forked, while workers die: it goes on when some may be again, and blames no job."""
    group = _pids() / f"farm-test-{os.getpid()}"
    group.mkdir()
    try:
        with _farm(base).start() as farm:
            client = Client(farm)
            for _ in range(8):
                client.submit()
            until(lambda: farm.jobs().get("succeeded", 0) > 2, SLOW_S)
            members = farm.processes()
            for pid in members:
                (group / "cgroup.procs").write_text(str(pid))
            workers = _workers(farm)
            (group / "pids.max").write_text("1")
            for pid in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(1.5)  # the time that the shortage lasts
            (group / "pids.max").write_text("max")
            assert farm.process is not None
            assert farm.process.poll() is None, farm.said()
            until(lambda: client.submit(), SLOW_S)
            client.judge()
            (attempts,) = farm.ledger("SELECT count(*) FROM attempt")[0]
            assert attempts < 4 * len(client.acknowledged), f"{attempts} attempts: it span"
            return {"acknowledged": len(client.acknowledged), "attempts": attempts}
    finally:
        until(lambda: not (group / "cgroup.procs").read_text().strip(), 10)
        group.rmdir()


SCENARIOS: dict[str, Callable[[Path], dict[str, Any]]] = {
    scenario.__name__: scenario for scenario in (file_size, descriptors, memory, processes)
}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="farm-limits-") as folder:
        print(json.dumps(SCENARIOS[sys.argv[1]](Path(folder))))  # noqa: T201


if __name__ == "__main__":
    main()
