"""Cron expressions mean what they mean everywhere else, also when clocks change."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from farm.triggers.cron import parse, weekdays


def fires(expression: str, timezone: str, start: str, n: int) -> list[str]:
    cron, at, found = parse(expression, timezone), datetime.fromisoformat(start).timestamp(), []
    for _ in range(n):
        after = cron.after(at)
        assert after is not None
        assert after > at
        at = after
        found.append(datetime.fromtimestamp(at, UTC).strftime("%m-%d %H:%M"))
    return found


@pytest.mark.parametrize(
    ("field", "names"),
    [
        ("0", "sun"),
        ("7", "sun"),
        ("1", "mon"),
        ("1-5", "mon,tue,wed,thu,fri"),
        ("5-7", "sun,fri,sat"),
        ("6-1", "sun,mon,sat"),
        ("*/2", "sun,tue,thu,sat"),
        ("1/2", "mon,wed,fri"),
        ("mon,wed", "mon,wed"),
        ("fri-mon", "sun,mon,fri,sat"),
        ("Sunday".lower(), "sun"),
        ("*", "*"),
        ("?", "*"),
    ],
)
def test_weekdays_are_counted_from_sunday(field: str, names: str) -> None:
    assert set(weekdays(field).split(",")) == set(names.split(","))


def test_weekday_1_is_a_monday() -> None:
    assert fires("0 7 * * 1", "UTC", "2026-01-01T00:00Z", 2) == ["01-05 07:00", "01-12 07:00"]


def test_weekday_0_and_7_are_a_sunday() -> None:
    for field in "0", "7", "sun":
        assert fires(f"0 0 * * {field}", "UTC", "2026-01-01T00:00Z", 1) == ["01-04 00:00"]


def test_shorthands_are_known() -> None:
    assert fires("@daily", "UTC", "2026-01-01T12:00Z", 2) == ["01-02 00:00", "01-03 00:00"]


def test_a_time_that_the_day_skips_fires_once() -> None:
    assert fires("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z", 3) == [
        "03-29 01:30",  # 02:30 does not exist: 03:30, as long after midnight
        "03-30 00:30",
        "03-31 00:30",
    ]


def test_a_time_that_the_day_has_twice_fires_once() -> None:
    assert fires("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00Z", 2) == ["10-25 00:30", "10-26 01:30"]


def test_a_wildcard_hour_follows_the_time_that_passes() -> None:
    assert fires("0 * * * *", "Europe/Berlin", "2026-10-24T23:30Z", 4) == [
        "10-25 00:00",
        "10-25 01:00",
        "10-25 02:00",
        "10-25 03:00",
    ]
    assert fires("30 * * * *", "Europe/Berlin", "2026-03-29T00:00Z", 3) == [
        "03-29 00:30",
        "03-29 01:30",
        "03-29 02:30",
    ]


def test_the_29th_of_february_comes_every_four_years() -> None:
    at = parse("0 0 29 2 *").after(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
    assert at == datetime(2028, 2, 29, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("", "five fields"),
        ("* * * *", "five fields"),
        ("* * * * * *", "five fields"),
        ("60 * * * *", "is not a cron expression"),
        ("* 24 * * *", "is not a cron expression"),
        ("* * * * 8", "'8' is not a weekday"),
        ("* * * * mo", "'mo' is not a weekday"),
        ("* * * * 1-", "is not a weekday"),
        ("* * * * */0", "a step of 0"),
        ("x * * * *", "is not a cron expression"),
        ("0 0 13 * 5", "both day of month and weekday"),
        ("0 0 30 2 *", "never fires"),
    ],
)
def test_what_is_no_cron_expression_says_why(expression: str, why: str) -> None:
    with pytest.raises(ValueError, match=why.replace("*", r"\*")):
        parse(expression)
