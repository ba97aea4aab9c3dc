"""What waits for units that a listing did not name."""

from __future__ import annotations

from farm.ledger.ledger import Ledger
from tests.ledger.test_set_back import listed


def test_work_on_what_a_listing_could_not_look_at_still_waits(ledger: Ledger) -> None:
    with ledger.transaction():
        listed(ledger, "a", "b", "closed/c", "closed")
        second = listed(ledger, "a")
        ledger.jobs.cancel_unlisted("notes", second, ["closed/"])
        states = ledger.connection.execute("SELECT key, state FROM job WHERE stage = 'extract'").fetchall()
        assert dict(states) == {
            "a": "pending",
            "b": "cancelled",
            "closed/c": "pending",
            "closed": "cancelled",
        }
