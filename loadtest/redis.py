"""A Redis of one's own: on a Unix socket in a folder, started and stopped with what needs it.

Durability as its documentation recommends for what should outlive a crash: an append-only file, flushed to the disk
every second.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from loadtest.farmhouse import until
from loadtest.peers import Missing

PACKAGE = "redis-server"
LACKS = "Redis flushes its log every second (appendfsync everysec): a power cut takes up to a second of jobs"


def install() -> None:
    """Have Debian's package, where it is missing and we may install it; Missing, with a sentence, otherwise."""
    if shutil.which(PACKAGE):
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", PACKAGE]):
            subprocess.run(command, capture_output=True, check=False, timeout=300, env=environment)
    if not shutil.which(PACKAGE):
        raise Missing(f"the program {PACKAGE} is not installed (Debian, Ubuntu: apt install {PACKAGE})")


class Redis:
    """Its files are in `folder`; the socket is in a folder with a short name, as sockets must be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "redis"
        self._short = Path(tempfile.mkdtemp(prefix="redis-"))
        self.socket = self._short / "socket"
        self._process: subprocess.Popen[bytes] | None = None
        self.client: Any = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        import redis

        self.folder.mkdir(parents=True, exist_ok=True)
        program = shutil.which(PACKAGE)
        if program is None:
            raise Missing(f"the program {PACKAGE} is not installed (Debian, Ubuntu: apt install {PACKAGE})")
        self._process = subprocess.Popen(
            [
                *(program, "--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700"),
                *("--dir", str(self.folder), "--appendonly", "yes", "--appendfsync", "everysec"),
                *("--save", "", "--daemonize", "no", "--maxmemory-policy", "noeviction"),
            ],
            stdout=(self.folder / "redis.log").open("wb"),
            stderr=subprocess.STDOUT,
        )
        self.client = redis.Redis.from_url(self.url)
        until(self._answers, 20, f"Redis starts; its output is in {self.folder / 'redis.log'}")

    def _answers(self) -> bool:
        import redis

        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"Redis ended: {(self.folder / 'redis.log').read_text()[-500:]}")
        try:
            return bool(self.client.ping())
        except redis.exceptions.ConnectionError:
            return False

    def close(self) -> None:
        if self.client is not None:
            self.client.close()
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._short, ignore_errors=True)
