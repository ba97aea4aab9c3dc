"""RQ: its default worker, which forks for each job, with what the jobs need loaded before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from loadtest import redis
from loadtest.peers.brokered import OnRedis

AT_ONCE = 500


class Queue(OnRedis):
    SHARE = 0.01
    READS = 0.05
    LACKS: ClassVar[list[str]] = [
        redis.LACKS,
        "a job whose worker was killed is found by maintenance minutes later, and counts as failed unless a retry"
        " was asked for",
        "finished jobs are forgotten after 500 s by default; no record of changes of state",
        "no memory cap or budget; no fairness between sources",
    ]
    OFFERS: ClassVar[list[str]] = [
        "many machines; a fork for each job, so a job's memory is gone after it; dashboards; jobs depend on jobs",
    ]

    def start(self) -> None:
        from rq import Queue as Jobs

        super().start()
        self._jobs = Jobs(connection=self.client)

    def commands(self) -> Sequence[Sequence[str]]:
        return [("-m", "loadtest.tasks.rq")] * self.count

    def put_noops(self, jobs: int) -> None:
        self._put("loadtest.tasks.rq.noop", [(n,) for n in range(jobs)])

    def put_reads(self, tasks: Sequence[tuple[str, ...]]) -> None:
        self._put("loadtest.tasks.rq.read_and_write", tasks)

    def _put(self, function: str, arguments: Sequence[tuple[object, ...]]) -> None:
        """In bulk, as its documentation advises for many."""
        prepared = [self._jobs.prepare_data(function, args) for args in arguments]
        for start in range(0, len(prepared), AT_ONCE):
            self._jobs.enqueue_many(prepared[start : start + AT_ONCE])

    def left(self) -> int:
        from rq.registry import StartedJobRegistry

        waiting = self._jobs.count
        return int(waiting) + len(StartedJobRegistry(queue=self._jobs).get_job_ids(cleanup=False))
