"""What deliveries lead to in the ledger, with the clock in hand."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from farm.deliveries import Deliveries
from farm.intake import EVENT_PATHS
from farm.ledger.ledger import Ledger
from farm.sources import Source, departed
from farm.triggers.webhooks import Delivery, Turns, Verdict
from tests.connectors_github.sender import issue, push

DAY_S = 86400.0


class Desk:
    def __init__(self, path: Path) -> None:
        self.now = 1_800_000_000.0
        self.ledger = Ledger.open(path, clock=lambda: self.now)
        settings = dataclasses.replace(
            departed("code"), connector="github", options_json=json.dumps({"repository": ["octo/hello"]})
        )
        self.sources = {"code": Source(settings)}
        self.deliveries = Deliveries(self.ledger, lambda: self.sources, self._call)

    def _call(self, act: Callable[[], Verdict]) -> Verdict:
        with self.ledger.transaction():
            return act()

    def receive(self, id_: str, number: int = 1, event: str = "issues") -> Verdict:
        payload = issue("octo/hello", number) if event == "issues" else push("octo/hello")
        return self.deliveries.receive(Delivery(id_, event, payload))

    def jobs(self) -> list[tuple[list[str], int]]:
        rows = self.ledger.connection.execute("SELECT payload, priority FROM job ORDER BY id")
        return [(json.loads(payload)["paths"], priority) for payload, priority in rows]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    found = Desk(tmp_path / "ledger.db")
    yield found
    found.ledger.close()


def test_deliveries_that_come_while_one_waits_join_it(desk: Desk) -> None:
    assert desk.receive("a", 1) is Verdict.ACCEPTED
    assert desk.receive("b", 2) is Verdict.ACCEPTED
    assert desk.receive("c", 1) is Verdict.ACCEPTED
    assert desk.receive("d", event="push") is Verdict.ACCEPTED
    assert desk.jobs() == [(["/issues/1", "/issues/2", "/refs/heads/main"], 2)]
    with desk.ledger.transaction():
        [job] = desk.ledger.connection.execute("SELECT id FROM job").fetchone()
        desk.ledger.attempts.lease([job], cpu=0.5, memory_bytes=1)
    desk.receive("e", 3)
    assert [paths for paths, _ in desk.jobs()][1] == ["/issues/3"], "what has begun is not given more"


def test_one_job_is_not_given_more_keys_than_it_can_hold(desk: Desk) -> None:
    for number in range(EVENT_PATHS + 5):
        desk.receive(f"n-{number}", number)
    assert [len(paths) for paths, _ in desk.jobs()] == [EVENT_PATHS, 5]


def test_a_delivery_is_known_for_thirty_days(desk: Desk) -> None:
    assert desk.receive("a") is Verdict.ACCEPTED
    desk.now += 29 * DAY_S
    assert desk.receive("b") is Verdict.ACCEPTED
    assert desk.receive("a") is Verdict.REPEATED
    desk.now += 2 * DAY_S
    assert desk.receive("c") is Verdict.ACCEPTED
    rows = desk.ledger.connection.execute("SELECT id FROM delivery ORDER BY id").fetchall()
    assert rows == [("b",), ("c",)]


def test_a_paused_source_is_left_alone(desk: Desk) -> None:
    desk.sources["code"].paused = True
    assert desk.receive("a") is Verdict.ACCEPTED
    assert desk.jobs() == []


def test_each_sender_has_turns_of_its_own() -> None:
    now = [0.0]
    turns = Turns(2.0, 3, clock=lambda: now[0])
    assert [turns.take("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert turns.take("b") == 0.0
    now[0] = 0.5
    assert turns.take("a") == 0.0
    for number in range(5_000):
        turns.take(f"other-{number}")
    assert len(turns._left) <= 1_024
