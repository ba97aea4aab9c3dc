"""A proxy between the farm and its mail server that can stall, and break connections, when a test says so."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Self


class Proxy:
    """Passes bytes on, unless `stalled`; `drop_after` breaks a connection once so many bytes came back on it."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.stalled = threading.Event()
        self.down = False
        """Whether connections are closed at once."""
        self.drop_after: int | None = None
        self.drops = 0
        """How many connections were broken; only as many as `most_drops`."""
        self.most_drops = 1
        self.connections = 0
        self.edit: Callable[[bytes], bytes] = lambda answer: answer
        """What becomes of each piece that the server says."""
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._begin(self._accept)
        return self

    def _begin(self, what: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=what, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def __exit__(self, *_: object) -> None:
        self.stalled.clear()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # closing alone would not wake who accepts
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def cut(self) -> None:
        """Break every connection now."""
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._open.clear()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self.connections += 1
                if self.down:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self._target))
                self._open += [near, far]
                self._begin(self._pass, near, far, False)
                self._begin(self._pass, far, near, True)

    def _pass(self, source: socket.socket, target: socket.socket, back: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if back:
                    passed += len(data)
                    if (
                        self.drop_after is not None
                        and passed > self.drop_after
                        and self.drops < self.most_drops
                    ):
                        self.drops += 1
                        break
                    while self.stalled.is_set():
                        threading.Event().wait(0.05)
                target.sendall(self.edit(data) if back else data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
