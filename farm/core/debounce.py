"""Many touches of one thing in a short while count as one, when it has been quiet or has kept on too long."""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heapify, heappop, heappush, heapreplace
from itertools import count
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)


class Debounce(Generic[KeyT]):
    """Keys that were touched and are not yet due.

    A key is due `quiet_s` after its last touch, and at the latest `max_wait_s` after its first: a file that
    is written to without end still comes through. Any clock that never goes back will do. Not for several
    threads at once.

    >>> saved = Debounce(quiet_s=0.3, max_wait_s=2.0)
    >>> saved.touch("a.txt", 10.0)
    >>> saved.touch("a.txt", 10.25)
    >>> saved.due(10.5), saved.due(10.6)
    ([], ['a.txt'])
    """

    def __init__(self, quiet_s: float, max_wait_s: float) -> None:
        self.quiet_s = quiet_s
        self.max_wait_s = max_wait_s
        self._touched: dict[KeyT, tuple[float, float]] = {}
        # One entry a key, never later than when the key is due: a touch only ever moves that into the future,
        # so it costs nothing here, and a burst of a thousand files costs a thousand entries.
        self._heap: list[tuple[float, int, KeyT]] = []
        self._order = count()

    def __len__(self) -> int:
        return len(self._touched)

    def touch(self, key: KeyT, now: float) -> None:
        """Something happened to this key."""
        known = self._touched.get(key)
        self._touched[key] = (known[0] if known else now, now)
        if known is None:
            heappush(self._heap, (self._due_at(key), next(self._order), key))

    def forget(self, key: KeyT) -> None:
        """This key is not to come due."""
        if self._touched.pop(key, None) is not None:
            self._heap = [entry for entry in self._heap if entry[2] != key]
            heapify(self._heap)

    def due(self, now: float) -> list[KeyT]:
        """The keys that are due, the earliest first; they are forgotten here."""
        keys: list[KeyT] = []
        while (at := self.next_due()) is not None and at <= now:
            key = heappop(self._heap)[2]
            del self._touched[key]
            keys.append(key)
        return keys

    def next_due(self) -> float | None:
        """When the next key is due; None when there is none."""
        while self._heap:
            at, order, key = self._heap[0]
            really = self._due_at(key)
            if at >= really:
                return at
            heapreplace(self._heap, (really, order, key))
        return None

    def _due_at(self, key: KeyT) -> float:
        first, last = self._touched[key]
        return min(last + self.quiet_s, first + self.max_wait_s)
