"""A farm that only has a pool: `python -m tests.workers.host HOME PIDS CONNECTOR...`, to be killed.

Prints the pids of its own processes once every connector's job is at work, and goes on until it is killed.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from farm.workers import proc
from tests.support.wait import until
from tests.workers.conftest import Bench


def main(home: Path, pids: str, connectors: list[str]) -> None:
    bench = Bench(home, cells=len(connectors) or 1)
    for connector in connectors:
        bench.launch(connector, "bad", pids=pids, timeout_s=100, stall_s=100, way="slowly")
    until(lambda: sum(f.job_id is not None for f in bench.pool.facts()) == len(connectors), 20.0)
    time.sleep(0.3)  # let the trees grow
    own = {bench.pool.guard_pid, *(f.pid for f in bench.pool.facts()), *proc.children(os.getpid())}
    # The maps name them as they were when they were made; the inode is what stays.
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if "/dev/shm/" in line]
    inodes = {int(fields[4]) for fields in maps}
    semaphores = {str(path) for path in Path("/dev/shm").iterdir() if path.stat().st_ino in inodes}
    sys.stdout.write(f"{bench.pool.guard_pid} {','.join(map(str, own))} {','.join(semaphores)}\n")
    sys.stdout.flush()
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
