"""Signals heard by a thread of their own.

The kernel may hand a signal to any thread, and Python runs its handlers in the main thread only, which then
sleeps on. So the handlers do nothing; the number of each signal arrives on a socket, and a thread acts on it.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable, Iterable

from farm import shortage


class Ear:
    """Calls `heard(number)` for each of these signals, in order, from its own thread. Made in the main thread."""

    def __init__(self, numbers: Iterable[signal.Signals], heard: Callable[[signal.Signals], None]) -> None:
        self._heard = heard
        self._hears, self._tells = socket.socketpair()
        self._tells.setblocking(False)
        self._before_fd = signal.set_wakeup_fd(self._tells.fileno(), warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, lambda *_: None) for number in numbers}
        self._thread = shortage.Thread(self._listen, name="signals")
        self._thread.start()

    def close(self) -> None:
        """Back to the handlers of before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._before_fd)
        self._tells.close()
        self._thread.join()
        self._hears.close()

    def _listen(self) -> None:
        while numbers := self._hears.recv(64):
            for number in numbers:
                with contextlib.suppress(ValueError):  # a real-time signal has no name
                    if (known := signal.Signals(number)) in self._before:
                        self._heard(known)
