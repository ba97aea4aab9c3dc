"""Through the real farm, from a real server."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.connectors_imap.mails import mail
from tests.connectors_imap.proxy import Proxy
from tests.support.dovecot import Account
from tests.support.farms import Farm
from tests.support.wait import until

Made = Callable[..., Farm]


def live(farm: Farm) -> dict[str, str]:
    """Title → key of every live document; none may be there twice."""
    rows = farm.store("SELECT key, title FROM document WHERE deleted_at IS NULL")
    titles = {title: key for key, title in rows}
    assert len(titles) == len(rows)
    return titles


def flags(farm: Farm) -> dict[str, Any]:
    """Key → flags."""
    rows = farm.store(
        "SELECT key, data ->> 'flags' FROM record WHERE stream = 'flags' AND deleted_at IS NULL"
    )
    return dict(rows)


def titles(*numbers: int) -> set[str]:
    return {f"Mail number {number}" for number in numbers}


def test_ten_thousand_messages_land_fast_each_fetched_once(ann: Account, farm_of: Made) -> None:
    ann.fill(mail(number, size=1200) for number in range(10_000))
    farm = farm_of(ann.options())
    began = time.monotonic()
    assert farm.drain(110) == 0
    took_s = time.monotonic() - began
    assert len(live(farm)) == len(flags(farm)) == 10_000
    assert Counter(ann.fetches()) == Counter(range(1, 10_001))
    assert 10_000 / took_s > 100
    [(peak,)] = farm.ledger("SELECT max(memory_peak_bytes) FROM attempt")
    assert peak < farm_memory(farm)

    asked = len(ann.commands())
    assert farm.drain() == 0
    assert [line.split(" ", 1)[1] for line in ann.commands()[asked:]] == [
        "ENABLE QRESYNC",
        'LIST "" "*"',
        'STATUS "INBOX" (UIDVALIDITY UIDNEXT MESSAGES HIGHESTMODSEQ)',
        "LOGOUT",
    ][: len(ann.commands()) - asked]


def farm_memory(farm: Farm) -> int:
    """What the profile declares."""
    from farm.settings import load

    return load(farm.config).sources["mail"].profile.memory_bytes


def test_what_is_new_gone_flagged_and_moved_is_followed_and_nothing_fetched_again(
    ann: Account, farm_of: Made
) -> None:
    ann.append(*(mail(number) for number in range(1, 7)))
    farm = farm_of(ann.options())
    farm.look()
    first = live(farm)
    assert first.keys() == titles(*range(1, 7))

    with ann.client() as client:
        client.create_folder("Kept/2024")
        client.select_folder("INBOX")
        client.add_flags([1], ["\\Seen", "\\Flagged"])
        client.move([2], "Kept/2024")
    ann.expunge(3)
    ann.append(mail(7))
    farm.look()

    second = live(farm)
    assert second.keys() == titles(1, 2, 4, 5, 6, 7)
    assert second["Mail number 2"].startswith("Kept/2024/")
    assert flags(farm)[second["Mail number 1"]] == '["\\\\Flagged","\\\\Seen"]'
    assert flags(farm).keys() == set(second.values())
    assert sorted(ann.fetches()) == [1, 2, 3, 4, 5, 6, 7], "the moved one is renamed, not read"
    [uri] = farm.json("search", '"what mail 2 says"', "--source", "mail")
    assert uri["uri"].endswith(f"/Kept/2024;UIDVALIDITY={ann.validity('Kept/2024')}/;UID=1")


def test_a_changed_uidvalidity_lands_nothing_twice_and_fetches_nothing(ann: Account, farm_of: Made) -> None:
    ann.append(*(mail(number) for number in range(1, 40)))
    farm = farm_of(ann.options())
    assert farm.drain() == 0
    before = live(farm)

    ann.expunge(5)
    ann.renumber()
    ann.append(mail(40))
    assert farm.drain() == 0
    after = live(farm)
    assert after.keys() == titles(*range(1, 5), *range(6, 41))
    assert not set(before.values()) & set(after.values())
    assert after["Mail number 6"].endswith(".5")
    assert flags(farm).keys() == set(after.values())
    assert sorted(ann.fetches()) == [*range(1, 40), 39], "only the new one, whose UID is now 39"


def test_a_renamed_and_a_removed_mailbox_are_followed(ann: Account, farm_of: Made) -> None:
    ann.append(mail(1), mail(2), mailbox="Work")
    ann.append(mail(3), mailbox="Old")
    farm = farm_of(ann.options())
    farm.look()
    with ann.client() as client:
        client.rename_folder("Work", "Jobs")
        client.delete_folder("Old")
    farm.look()
    assert {title: key.partition("/")[0] for title, key in live(farm).items()} == {
        "Mail number 1": "Jobs",
        "Mail number 2": "Jobs",
    }
    assert len(ann.fetches()) == 3


def test_a_farm_killed_during_the_first_sync_goes_on_and_fetches_little_again(
    ann: Account, farm_of: Made
) -> None:
    ann.fill(mail(number, size=2000) for number in range(1500))
    farm = farm_of(ann.options())
    farm.start()
    farm.call("run", source="mail", type="incremental")
    until(lambda: farm.jobs().get("succeeded", 0) > 200, 60, every_s=0.01)
    farm.kill()
    done = farm.jobs()["succeeded"]
    assert done < 1400, "killed too late to tell anything"
    until(lambda: not farm.processes(), 20)
    assert farm.drain(90) == 0
    assert live(farm).keys() == titles(*range(1500))
    again = Counter(ann.fetches())
    assert again.keys() == set(range(1, 1501))
    # Once more only what was in the hands of the two workers when they died.
    assert sum(count - 1 for count in again.values()) <= 2 * 2 * 128


def test_an_outage_between_two_runs_changes_nothing(ann: Account, farm_of: Made) -> None:
    ann.append(mail(1), mail(2))
    with Proxy(ann.server.port) as proxy:
        farm = farm_of(ann.options(port=proxy.port), retry={"base": "1s", "max": "1s"}, limits={"cool": "1s"})
        assert farm.drain() == 0
        proxy.down = True
        farm.start()
        farm.call("run", source="mail", type="incremental")
        farm.until_jobs(retrying=1)
        [(message,)] = farm.ledger("SELECT message FROM job WHERE state = 'retrying'")
        assert message == f"127.0.0.1:{proxy.port} dropped the connection"
        ann.append(mail(3))
        assert live(farm).keys() == titles(1, 2)
        proxy.down = False
        until(lambda: live(farm).keys() == titles(1, 2, 3), 60)
    assert sorted(ann.fetches()) == [1, 2, 3]


def test_a_connection_that_breaks_is_opened_again_and_costs_no_attempt(ann: Account, farm_of: Made) -> None:
    ann.append(*(mail(number, size=20_000) for number in range(1, 60)))
    with Proxy(ann.server.port) as proxy:
        proxy.drop_after = 200_000
        farm = farm_of(ann.options(port=proxy.port))
        assert farm.drain() == 0
        assert proxy.drops == 1
    assert live(farm).keys() == titles(*range(1, 60))
    assert farm.ledger("SELECT count(*) FROM attempt WHERE outcome <> 'succeeded'") == [(0,)]


def test_a_server_that_stalls_is_told_in_a_sentence_and_tried_again(ann: Account, farm_of: Made) -> None:
    ann.append(mail(1))
    with Proxy(ann.server.port) as proxy:
        proxy.stalled.set()
        farm = farm_of(
            ann.options(port=proxy.port, timeout=1), retry={"class": "fast", "base": "1s", "max_attempts": 20}
        )
        farm.start()
        farm.call("run", source="mail", type="incremental")
        farm.until_jobs(retrying=1)
        [(message,)] = farm.ledger("SELECT message FROM job WHERE stage = 'discover'")
        assert message == f"127.0.0.1:{proxy.port} did not answer for 1 s"
        proxy.stalled.clear()
        until(lambda: live(farm).keys() == titles(1), 60)


def test_a_wrong_password_is_one_sentence_and_not_tried_again(ann: Account, farm_of: Made) -> None:
    ann.append(mail(1))
    farm = farm_of(ann.options(), password="not-the-password")
    assert farm.drain() == 3
    [job] = farm.json("quarantine", "list")
    assert job["attempts"] == 1
    assert job["message"] == (
        f"127.0.0.1:{ann.server.port} refused the login of {ann.user}: check the secret mail"
        " ([AUTHENTICATIONFAILED] Authentication failed.)"
    )
    shown = str(farm.json("jobs", "show", str(job["job_id"]))) + farm.said()
    assert "not-the-password" not in shown
