"""pebble's ProcessPool: `map` with chunks. The farm's own cells are such pools, with one worker each."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pebble import ProcessPool

from loadtest.peers.pools import Pooled


class Queue(Pooled):
    def start(self) -> None:
        self._pool = ProcessPool(self.count, context=multiprocessing.get_context("forkserver"))

    def each(self, function: Callable[[Any], Any], over: Sequence[Any], chunk: int) -> Iterator[Any]:
        results: Iterator[Any] = self._pool.map(function, over, chunksize=chunk).result()
        return results

    def close(self) -> None:
        if hasattr(self, "_pool"):
            self._pool.stop()  # type: ignore[no-untyped-call]
            self._pool.join()
