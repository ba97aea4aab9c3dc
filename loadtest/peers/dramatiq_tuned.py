"""Dramatiq tuned for jobs that wait for nothing: one thread in each process, and of no-ops many prefetched."""

from __future__ import annotations

from collections.abc import Mapping

from loadtest.peers import dramatiq

PREFETCH = 64
"""With its default of two for each thread, a single thread sleeps most of the time."""


class Queue(dramatiq.Queue):
    def start(self) -> None:
        super().start()
        self._prefetch: dict[str, str] = {}

    def environment(self) -> Mapping[str, str]:
        return self._prefetch

    def put_noops(self, jobs: int) -> None:
        self._threads, self._prefetch = dramatiq.ONE, {"dramatiq_queue_prefetch": str(PREFETCH)}
        super().put_noops(jobs)
