"""Through the real farm, from a real server."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.connectors_imap.mails import mail
from tests.support.dovecot import Account
from tests.support.farms import Farm

Made = Callable[..., Farm]


def live(farm: Farm) -> dict[str, str]:
    """Title → key of every live document."""
    return {
        title: key for key, title in farm.store("SELECT key, title FROM document WHERE deleted_at IS NULL")
    }


def flags(farm: Farm) -> dict[str, Any]:
    return dict(
        farm.store("SELECT key, data ->> 'flags' FROM record WHERE stream = 'flags' AND deleted_at IS NULL")
    )


def test_ten_thousand_messages_land_fast_each_fetched_once(ann: Account, farm_of: Made) -> None:
    ann.fill(mail(number, size=1200) for number in range(10_000))
    farm = farm_of(ann.options())
    began = time.monotonic()
    assert farm.drain(110) == 0
    took_s = time.monotonic() - began
    assert len(live(farm)) == 10_000
    assert Counter(ann.fetches()) == Counter(range(1, 10_001))
    [(peak,)] = farm.ledger("SELECT max(memory_peak_bytes) FROM attempt")
    assert 10_000 / took_s > 100
    assert peak < 256e6
