"""The standard library's Pool: `imap_unordered` with chunks, as its documentation advises for long iterables."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from loadtest.peers.pools import Pooled


class Queue(Pooled):
    SHARE = 40.0

    def start(self) -> None:
        self._pool = multiprocessing.get_context("forkserver").Pool(self.count)

    def each(self, function: Callable[[Any], Any], over: Sequence[Any], chunk: int) -> Iterator[Any]:
        return self._pool.imap_unordered(function, over, chunk)

    def close(self) -> None:
        if hasattr(self, "_pool"):
            self._pool.terminate()
            self._pool.join()
