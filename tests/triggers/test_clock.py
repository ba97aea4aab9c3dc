"""The clock with a time of its own: what is due fires, what was missed is made up for once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from farm.core.job import Priority
from farm.settings import SourceSettings, parse
from farm.triggers import clock as clocks
from farm.triggers.clock import Clock, Schedule, spec_of, trigger_key
from tests.support.wait import until

PLAIN = parse('[sources.x]\nconnector = "tests.support.connectors:Noop"', Path("farm.toml"))
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp()


@dataclass
class Time:
    """Wall time that can be stepped; it runs on with the real one."""

    offset: float

    def __call__(self) -> float:
        return time.time() + self.offset

    @classmethod
    def at(cls, moment: float) -> Time:
        return cls(moment - time.time())

    def step(self, by_s: float) -> None:
        self.offset += by_s


@dataclass
class Fired:
    fires: list[tuple[str, str, str, float]] = field(default_factory=list)

    def __call__(self, source: str, trigger: str, key: str, due_at: float) -> None:
        self.fires.append((source, trigger, key, due_at))

    @property
    def triggers(self) -> list[str]:
        return [fire[1] for fire in self.fires]


def source(
    name: str = "notes", every_s: float | None = None, cron: str | None = None, tz: str = "UTC"
) -> SourceSettings:
    return replace(
        PLAIN.sources["x"], name=name, every_s=every_s, cron=cron, timezone=tz, priority=Priority.NORMAL
    )


@contextmanager
def running(
    *sources: SourceSettings, now: Callable[[], float], fired: Fired, known: dict[str, Schedule] | None = None
) -> Iterator[Clock]:
    clock = Clock(sources, fired, known or {}, now=now, look_s=0.05)
    clock.start()
    try:
        yield clock
    finally:
        clock.close()


def test_every_fires_at_once_and_then_on_its_grid() -> None:
    fired, now = Fired(), Time.at(NOON)
    with running(source(every_s=0.2), now=now, fired=fired):
        until(lambda: len(fired.fires) >= 4)
    assert set(fired.triggers) == {"every"}
    dues = [fire[3] for fire in fired.fires]
    assert dues[0] == pytest.approx(NOON, abs=2)
    assert [round(b - a, 3) for a, b in pairwise(dues)] == [0.2] * (len(dues) - 1)
    assert len({fire[2] for fire in fired.fires}) == len(dues), "each fire has its own key"


def test_every_counts_from_the_last_fire_the_ledger_knows() -> None:
    fired, now = Fired(), Time.at(NOON)
    known = {"notes": Schedule("notes", "every 900.0", NOON - 600)}
    with running(source(every_s=900.0), now=now, fired=fired, known=known) as clock:
        assert clock.next_fire_at("notes") == NOON + 300
        now.step(299)
        time.sleep(0.2)
        assert fired.fires == []
        now.step(2)
        until(lambda: fired.fires)
    assert fired.fires == [("notes", "every", trigger_key("notes", NOON + 300), NOON + 300)]


def test_what_was_missed_while_down_is_made_up_for_once() -> None:
    fired, now = Fired(), Time.at(NOON)
    known = {"notes": Schedule("notes", "every 900.0", NOON - 10_000)}
    with running(source(every_s=900.0), now=now, fired=fired, known=known) as clock:
        until(lambda: fired.fires)
        time.sleep(0.2)
        due = NOON - 10_000 + 11 * 900
        assert fired.fires == [("notes", "catch_up", trigger_key("notes", due), due)]
        until(lambda: clock.next_fire_at("notes") == due + 900)
        assert clock.schedules() == [Schedule("notes", "every 900.0", due, due + 900)]


def test_a_missed_cron_is_made_up_for_once() -> None:
    fired, now = Fired(), Time.at(NOON)
    known = {"notes": Schedule("notes", "cron 0 7 * * * UTC", NOON - 3 * 86400)}
    with running(source(cron="0 7 * * *"), now=now, fired=fired, known=known) as clock:
        until(lambda: fired.fires)
        seven = NOON - 5 * 3600
        assert fired.fires == [("notes", "catch_up", "notes@2026-06-01T07:00:00.000Z", seven)]
        until(lambda: clock.next_fire_at("notes") == seven + 86400)


def test_a_new_cron_waits_for_its_first_time() -> None:
    fired, now = Fired(), Time.at(NOON + 30)
    with running(source(cron="1 12 * * *"), now=now, fired=fired) as clock:
        assert clock.next_fire_at("notes") == NOON + 60
        assert fired.fires == []
        now.step(30)
        until(lambda: fired.fires)
    assert fired.fires == [("notes", "cron", "notes@2026-06-01T12:01:00.000Z", NOON + 60)]


def test_a_changed_cron_makes_up_for_nothing() -> None:
    now, fired = Time.at(NOON), Fired()
    known = {"notes": Schedule("notes", "cron 0 8 * * * UTC", NOON - 3 * 86400)}
    with running(source(cron="0 7 * * *"), now=now, fired=fired, known=known) as clock:
        assert clock.next_fire_at("notes") == NOON - 5 * 3600 + 86400
    assert fired.fires == []


def test_a_minutely_cron_that_was_down_for_a_year_is_back_in_no_time() -> None:
    now, fired = Time.at(NOON + 5), Fired()
    known = {"notes": Schedule("notes", "cron * * * * * UTC", NOON - 366 * 86400)}
    began = time.monotonic()
    with running(source(cron="* * * * *"), now=now, fired=fired, known=known):
        until(lambda: fired.fires)
    assert time.monotonic() - began < 5
    assert fired.fires[0][1:] == ("catch_up", trigger_key("notes", NOON), NOON)


def test_after_a_suspend_one_fire_is_made_up_for() -> None:
    """The wall clock jumps, the monotonic one that sleepers wait by does not."""
    now, fired = Time.at(NOON), Fired()
    with running(source(every_s=900.0), now=now, fired=fired):
        until(lambda: len(fired.fires) == 1)
        now.step(8 * 3600 + 60)
        until(lambda: len(fired.fires) == 2)
        time.sleep(0.2)
    assert fired.triggers == ["every", "catch_up"]
    first, second = (fire[3] for fire in fired.fires)
    assert second - first == pytest.approx(8 * 3600)


def test_a_clock_set_back_does_not_make_a_source_wait() -> None:
    now, fired = Time.at(NOON), Fired()
    with running(source(every_s=900.0), now=now, fired=fired) as clock:
        until(lambda: len(fired.fires) == 1)
        now.step(-3600)
        until(lambda: (clock.next_fire_at("notes") or 0) < NOON)
        assert clock.next_fire_at("notes") == pytest.approx(NOON - 3600 + 900, abs=5)
        now.step(901)
        until(lambda: len(fired.fires) == 2)


def test_a_cron_repeated_by_a_clock_set_back_has_the_same_key() -> None:
    now, fired = Time.at(NOON - 1), Fired()
    with running(source(cron="0 * * * *"), now=now, fired=fired):
        now.step(2)
        until(lambda: len(fired.fires) == 1)
        now.step(-1800)
        time.sleep(0.2)
        now.step(1800)
        until(lambda: len(fired.fires) == 2)
    assert fired.fires[0][2] == fired.fires[1][2], "so that it is not run twice"


def test_a_source_may_have_its_time_zone() -> None:
    now, fired = Time.at(NOON), Fired()
    with running(source(cron="0 7 * * *", tz="America/New_York"), now=now, fired=fired) as clock:
        assert clock.next_fire_at("notes") == datetime(2026, 6, 2, 11, tzinfo=UTC).timestamp()
    assert spec_of(source(cron="0 7 * * *", tz="America/New_York")) == "cron 0 7 * * * America/New_York"


def test_a_fire_that_cannot_be_handed_over_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "AGAIN_S", 0.05)
    now, tries = Time.at(NOON), []

    def fire(*what: object) -> None:
        tries.append(what)
        if len(tries) < 3:
            raise RuntimeError("busy")

    clock = Clock([source(every_s=900.0)], fire, {}, now=now, look_s=0.05)
    clock.start()
    until(lambda: len(tries) == 3)
    time.sleep(0.2)
    clock.close()
    assert len(tries) == 3
    assert len(set(tries)) == 1, "under the same key"


def test_reload_keeps_what_did_not_change_and_forgets_what_left() -> None:
    now, fired = Time.at(NOON), Fired()
    with running(source("a", every_s=900.0), source("b", every_s=900.0), now=now, fired=fired) as clock:
        until(lambda: len(fired.fires) == 2)
        at = clock.next_fire_at("a")
        clock.reload([source("a", every_s=900.0), source("c", every_s=900.0)])
        assert clock.next_fire_at("a") == at
        assert clock.next_fire_at("b") is None
        until(lambda: len(fired.fires) == 3)
        assert fired.fires[2][0] == "c"
        clock.reload([source("a", every_s=60.0)])
        assert clock.next_fire_at("a") == pytest.approx(NOON + 60, abs=5)


def test_whoever_takes_a_fire_may_ask_the_clock_from_another_thread() -> None:
    now, done = Time.at(NOON), threading.Event()

    def fire(*_: object) -> None:
        asker = threading.Thread(
            target=lambda: (clock.next_fire_at("notes"), clock.reload([source(every_s=9.0)]))
        )
        asker.start()
        asker.join(5)
        if not asker.is_alive():
            done.set()

    clock = Clock([source(every_s=900.0)], fire, {}, now=now)
    clock.start()
    assert done.wait(10)
    clock.close()


def test_nothing_fires_after_close() -> None:
    now, fired = Time.at(NOON), Fired()
    before = threading.active_count()
    with running(source(every_s=0.05), now=now, fired=fired):
        until(lambda: fired.fires)
    n = len(fired.fires)
    time.sleep(0.3)
    assert len(fired.fires) == n
    until(lambda: threading.active_count() <= before)


def test_closing_waits_for_the_fire_that_is_being_handed_over() -> None:
    now, begun, done = Time.at(NOON), threading.Event(), threading.Event()

    def fire(*_: object) -> None:
        begun.set()
        time.sleep(0.3)
        done.set()

    clock = Clock([source(every_s=900.0)], fire, {}, now=now, look_s=0.01)
    clock.start()
    assert begun.wait(10)
    clock.close()
    assert done.is_set()


def test_closing_while_all_threads_are_at_work_never_blocks() -> None:
    for _ in range(30):
        fired = Fired()
        sources = [source(str(i), every_s=0.001) for i in range(5)]
        clock = Clock(sources, fired, {}, now=Time.at(NOON), look_s=0.001)
        clock.start()
        until(lambda fired=fired: fired.fires)
        clock.reload(sources[:3])
        clock.close()


def test_a_source_without_a_schedule_never_fires() -> None:
    now, fired = Time.at(NOON), Fired()
    assert spec_of(source()) is None
    with running(source(), now=now, fired=fired) as clock:
        assert clock.next_fire_at("notes") is None
        assert clock.schedules() == []
