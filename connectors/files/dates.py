"""Times as documents write them, to Unix seconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_PDF = re.compile(r"(?:D:)?(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(?:([+\-Z])(?:(\d\d)'?(\d\d)?'?)?)?$")


def timestamp(text: str | None) -> float | None:
    """Unix seconds of an ISO 8601, PDF or e-mail date (UTC where it names no zone), None where it is none.

    >>> timestamp("1970-01-02T00:00:00Z"), timestamp("D:19700101010000+01'00'"), timestamp("soon")
    (86400.0, 0.0, None)
    """
    if not text:
        return None
    text = text.strip()
    for read in (datetime.fromisoformat, _of_pdf, parsedate_to_datetime):
        try:
            when = read(text)
            return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None


def _of_pdf(text: str) -> datetime:
    match = _PDF.match(text)
    if match is None:
        raise ValueError(text)
    year, month, day, hour, minute, second, sign, zone_hours, zone_minutes = match.groups()
    zone = "+00:00" if sign in (None, "Z") else f"{sign}{zone_hours or '00'}:{zone_minutes or '00'}"
    return datetime.fromisoformat(
        f"{year}-{month or '01'}-{day or '01'}T{hour or '00'}:{minute or '00'}:{second or '00'}{zone}"
    )
