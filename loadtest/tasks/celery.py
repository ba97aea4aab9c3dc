"""Celery's side of it. `python -m celery -A loadtest.tasks.celery worker` finds `app`."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.signals import worker_process_init

from loadtest import tasks
from loadtest.reading import read_and_write


def make(socket: str) -> Any:
    """An application with its two tasks, on the Redis at this socket.

    Acknowledged late, and put back when its process is lost. No results: nobody asks for them.
    """
    app = Celery("loadtest", broker=f"redis+socket://{socket}", set_as_current=False)
    app.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        broker_connection_retry_on_startup=True,
        worker_hijack_root_logger=False,
    )
    app.task(name="noop")(noop)
    app.task(name="read")(read_and_write)
    return app


def noop(n: int) -> None:
    """Nothing."""


if tasks.BROKER in os.environ:
    app = make(os.environ[tasks.BROKER])


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _ready(**_: Any) -> None:
    tasks.ready()
