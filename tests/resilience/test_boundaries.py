"""A kill or an error at any system call that makes something durable: no promise is broken."""

from __future__ import annotations

import os
import random
from collections import defaultdict

import pytest

from tests.resilience.boundaries import Point, count_all, points, strike_in_parallel
from tests.resilience.tools import needs

SEED = int(os.environ.get("FARM_BOUNDARY_SEED", "0"))


def sample(every: list[Point], seed: int) -> list[Point]:
    """One of each part, call and fault; a few more of those that there are many of."""
    groups: dict[tuple[str, str, str], list[Point]] = defaultdict(list)
    for point in every:
        groups[point.part, point.call, point.fault].append(point)
    chance = random.Random(seed)
    return [
        point
        for group in groups.values()
        for point in chance.sample(group, min(len(group), 1 + len(group) // 200))
    ]


@pytest.mark.timeout(300)
def test_no_promise_is_broken_by_a_kill_or_an_error_at_any_boundary() -> None:
    needs("strace")
    counts = count_all()
    assert counts["work"]["pwrite64"] > 100
    assert all(counts["restore"][call] for call in ("rename", "fsync", "link"))
    chosen = sample(list(points(counts)), SEED)
    struck = strike_in_parallel(chosen)
    assert not struck.broken, "\n".join(struck.broken[:10])
    ends = {end for *_, end in struck.ended}
    assert ends >= {"killed", "said", "ok"}
    reached = sum(n for (*_, end), n in struck.ended.items() if end != "not reached")
    assert reached > 0.9 * len(chosen)
    assert not [said for said in struck.sentences if "Traceback" in said or "\n" in said]
