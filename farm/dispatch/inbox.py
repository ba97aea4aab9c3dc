"""The inbox: what other threads want done in the ledger's transaction, and their answers."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from farm.errors import NotPossible

T = TypeVar("T")
STOPPED = "the farm has stopped"


@dataclass(slots=True)
class Request:
    """Something another thread wants done in the ledger's transaction, and its answer."""

    act: Callable[[], Any]
    answer: Future[Any] = field(default_factory=Future)
    result: Any = None
    error: Exception | None = None

    def tell(self) -> None:
        """Give the answer: what came of it is on disk."""
        if self.error is not None:
            self.answer.set_exception(self.error)
        else:
            self.answer.set_result(self.result)


class Inbox:
    """`ask` and `ring` are for everybody, the rest is for the one thread that takes."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._rung = False
        self._door = threading.Lock()
        self._shut = False

    def ask(self, act: Callable[[], T]) -> T:
        """Have this done; returns once it is on disk. Raises what it raised, NotPossible once closed."""
        request = Request(act)
        with self._door:
            if self._shut:
                raise NotPossible(STOPPED)
            self._queue.put(request)
        return cast(T, request.answer.result())

    def ring(self) -> None:
        """Something may have changed."""
        if not self._rung:
            self._rung = True
            self._queue.put(None)

    def take(self, patience_s: float | None) -> list[Request]:
        """All that is there, or the first that comes within so many seconds; None: however long it takes."""
        entries: list[Request | None] = []
        try:
            entries.append(
                self._queue.get(timeout=patience_s) if patience_s != 0.0 else self._queue.get_nowait()
            )
            self._rung = False
            while True:
                entries.append(self._queue.get_nowait())
        except queue.Empty:
            self._rung = False
        return [entry for entry in entries if entry is not None]

    def empty(self) -> bool:
        return self._queue.empty()

    def close(self) -> None:
        """Refuse what is there and what comes."""
        with self._door:
            self._shut = True
        for request in self.take(0.0):
            request.error = NotPossible(STOPPED)
            request.tell()
