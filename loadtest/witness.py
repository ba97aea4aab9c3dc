"""The witness: sees to the millisecond when the last process of a job is gone.

A job that hangs connects to its socket and says its key; its children inherit the line. The kernel closes the
line when the last of them has died, whoever killed it, so nothing has to look at the process table.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType


class Witness:
    """`with Witness(path, told) as witness:`; `told(key, at)` from its thread, `at` in Unix seconds."""

    def __init__(self, path: Path, told: Callable[[str, float], None]) -> None:
        self.path = path
        self._told = told
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(512)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._server, selectors.EVENT_READ)
        self._heard: dict[socket.socket, bytes] = {}
        self._over, self._bell = socket.socketpair()
        self._selector.register(self._over, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="witness", daemon=True)

    def __enter__(self) -> Witness:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bell.close()
        self._thread.join()
        for line in (self._server, self._over, *self._heard):
            line.close()
        self._selector.close()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                line = key.fileobj
                assert isinstance(line, socket.socket)
                if line is self._over:
                    return
                if line is self._server:
                    caller, _ = line.accept()
                    self._heard[caller] = b""
                    self._selector.register(caller, selectors.EVENT_READ)
                else:
                    self._hear(line)

    def _hear(self, line: socket.socket) -> None:
        try:
            said = line.recv(4096)
        except ConnectionResetError:
            said = b""
        if said:
            self._heard[line] += said
            return
        at = time.time()
        self._selector.unregister(line)
        line.close()
        self._told(self._heard.pop(line).decode().strip(), at)
