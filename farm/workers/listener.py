"""The process that listens for one source: `farm.triggers.listen` starts it and reads what it says.

One line of JSON on standard input tells what to listen to; that it ends, ends this process. On standard output:
{"path": what changed, null for everything}, and {"wrong": why it cannot listen} before it gives up.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from setproctitle import setproctitle

from farm import registry
from farm.connector import ConnectorError, Unit
from farm.secrets import CREDENTIALS, PREFIX
from farm.workers import fault
from farm.workers.vault import Vault

GRACE_S = 3.0
MEMORY_BYTES = 512 << 20


class ListenContext:
    """What `Connector.listen` is given: a context without a job. `scratch` goes with the process, or at the next
    start of the farm."""

    held = ""
    paths: list[str] | None = None
    memory_bytes = MEMORY_BYTES
    timeout_s = float("inf")

    def __init__(self, source: str, options: Any, vault: Vault, scratch: Path) -> None:
        self.source = source
        self.scratch = self.cache = scratch
        self.options = options
        self.log = logging.getLogger("connector")
        self.stop_requested = False
        self._vault = vault

    @property
    def ahead(self) -> Iterator[Unit]:
        return iter(())

    def secret(self, name: str) -> str:
        return self._vault.secret(name)

    def throttle(self) -> bool:
        return not self.stop_requested

    def progress(self, done: int = 0, total: int | None = None, message: str = "") -> None:
        pass


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the farm, which tells us
    told = json.loads(sys.stdin.buffer.readline())
    setproctitle(f"farm: {told['connector'].rpartition(':')[2]} listens for {told['source']}")
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    os.nice(5)
    vault = Vault(Path(told["home"]), dict(os.environ))
    for name in [name for name in os.environ if name.startswith(PREFIX) or name == CREDENTIALS]:
        del os.environ[name]
    with _scratch(Path(told["home"])) as scratch:
        try:
            connector = registry.load(told["connector"])()
            options = connector.Options.model_validate_json(told["options"])
            context = ListenContext(told["source"], options, vault, scratch)
            threading.Thread(target=_end_with_the_farm, args=(context,), daemon=True).start()
            for path in connector.listen(context):
                _say({"path": path})
        except Exception as error:  # noqa: BLE001 - whatever it is, the farm is told
            why = str(error) if isinstance(error, ConnectorError) else fault.classed(error).message
            _say({"wrong": vault.redact(" ".join(why.split())[:500])})
            return 1
    return 0


@contextmanager
def _scratch(home: Path) -> Iterator[Path]:
    """Among those of the workers, which the farm's next start clears; also for all temporary files."""
    (home / "scratch").mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="listen-", dir=home / "scratch"))
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _say(told: dict[str, str | None]) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def _end_with_the_farm(context: ListenContext) -> None:
    # Not sys.stdin: its lock would be held here for good.
    while os.read(0, 4096):
        pass
    context.stop_requested = True
    time.sleep(GRACE_S)
    shutil.rmtree(context.scratch, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
