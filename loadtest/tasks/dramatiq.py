"""Dramatiq's side of it: `python -m dramatiq loadtest.tasks.dramatiq` finds `broker`."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import Middleware

from loadtest import tasks
from loadtest.reading import read_and_write


class Actors(NamedTuple):
    broker: Any
    noop: Any
    read: Any


class Ready(Middleware):
    def before_worker_boot(self, broker: Any, worker: Any) -> None:
        tasks.ready()


def make(url: str) -> Actors:
    """A broker with its default middleware, and its two actors."""
    broker = RedisBroker(client=redis.Redis.from_url(url))  # type: ignore[no-untyped-call]
    return Actors(broker, dramatiq.actor(broker=broker)(noop), dramatiq.actor(broker=broker)(read_and_write))


def noop(n: int) -> None:
    """Nothing."""


if tasks.BROKER in os.environ:
    broker = make(os.environ[tasks.BROKER]).broker
    broker.add_middleware(Ready())
