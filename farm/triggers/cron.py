"""Cron expressions as everybody else reads them: five fields, weekdays counted from Sunday.

APScheduler counts weekdays from Monday (0) and knows no 7; so numbers become names before it sees them.
When clocks change: a time that the day skips fires at the same distance from midnight, a time that the day
has twice fires once, unless the hour is a wildcard, which follows the time that really passes.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_HOW = "write five fields: minute hour day month weekday, like 0 7 * * 1-5"


@dataclass(frozen=True, slots=True)
class Cron:
    """When a cron expression fires, in its time zone."""

    trigger: CronTrigger
    every_hour: bool

    def after(self, at: float) -> float | None:
        """The first fire after this moment, both Unix seconds; None when there is none any more."""
        moment = datetime.fromtimestamp(at, UTC) + timedelta(microseconds=1)
        while (found := self.trigger.get_next_fire_time(None, moment)) is not None:
            if self.every_hour or not found.fold:
                return float(found.timestamp())
            moment = found.astimezone(UTC) + timedelta(microseconds=1)
        return None


def parse(expression: str, timezone: str = "UTC") -> Cron:
    """What fires by this expression; ValueError is a sentence for a person.

    >>> str(parse("0 7 * * 1-5").trigger.fields[4])
    'mon,tue,wed,thu,fri'
    """
    fields = _ALIASES.get(expression.strip().lower(), expression).split()
    if len(fields) != 5:
        raise ValueError(f"{expression!r} is not a cron expression: {_HOW}")
    minute, hour, day, month, weekday = (field.lower() for field in fields)
    if day not in ("*", "?") and weekday not in ("*", "?"):
        # Classic cron fires when either matches, APScheduler when both do: refuse what surprises.
        raise ValueError(f"{expression!r} restricts both day of month and weekday: restrict one of them")
    try:
        trigger = CronTrigger(
            minute=minute,
            hour=hour,
            day="*" if day == "?" else day,
            month=month,
            day_of_week=weekdays(weekday),
            timezone=ZoneInfo(timezone),
        )
    except ValueError as error:
        raise ValueError(f"{expression!r} is not a cron expression ({error}): {_HOW}") from None
    cron = Cron(trigger, every_hour="*" in hour)
    if cron.after(time.time()) is None:
        raise ValueError(f"{expression!r} never fires: there is no such day")
    return cron


def weekdays(field: str) -> str:
    """The weekday field by names: ranges and steps are spelled out, as APScheduler's week starts on Monday.

    >>> weekdays("5-7"), weekdays("*/2"), weekdays("mon,wed"), weekdays("*")
    ('sun,fri,sat', 'sun,tue,thu,sat', 'mon,wed', '*')
    """
    if field in ("*", "?"):
        return "*"
    chosen: set[int] = set()
    for item in field.split(","):
        part = re.fullmatch(r"(\*|\w+)(?:-(\w+))?(?:/(\d+))?", item)
        if part is None:
            raise ValueError(f"{item!r} is not a weekday")
        first, last, step = part[1], part[2], int(part[3] or 1)
        if step < 1:
            raise ValueError("a step of 0")
        start = 0 if first == "*" else _day(first)
        end = 6 if first == "*" or (last is None and part[3]) else _day(last or first)
        if end < start:
            end += 7  # fri-mon
        chosen.update(day % 7 for day in range(start, end + 1, step))
    return ",".join(_DAYS[day] for day in sorted(chosen))


def _day(text: str) -> int:
    if text.isdigit() and int(text) <= 7:
        return int(text)
    if text[:3] in _DAYS and (len(text) == 3 or text in _LONG):
        return _DAYS.index(text[:3])
    raise ValueError(f"{text!r} is not a weekday")


_LONG = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
