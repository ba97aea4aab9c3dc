"""Mail that lands because the server said that it came."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connectors.imap import Imap
from connectors.imap_mail import listen
from farm.workers import proc
from tests.connectors_imap.mails import mail
from tests.connectors_imap.proxy import Proxy
from tests.connectors_imap.test_farm import live, titles
from tests.support.context import Context
from tests.support.dovecot import PASSWORD, Account
from tests.support.farms import Farm
from tests.support.wait import until

Made = Callable[..., Farm]


def listeners(farm: Farm) -> list[int]:
    """Processes that listen for the farm's source."""
    return [
        pid for pid in farm.processes() if b"listens for mail" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def test_a_mail_lands_soon_after_it_came_and_its_process_ends_with_the_farm(
    ann: Account, farm_of: Made
) -> None:
    ann.append(mail(1))
    farm = farm_of(ann.options(), watch=True)
    farm.start()
    until(lambda: live(farm).keys() == titles(1), 60)
    [pid] = until(lambda: listeners(farm), 20)
    until(lambda: any("IDLE" in line for line in ann.commands()), 20)
    sent = time.monotonic()
    ann.append(mail(2))
    until(lambda: live(farm).keys() == titles(1, 2), 30, every_s=0.02)
    assert time.monotonic() - sent < 10
    ann.expunge(1)
    until(lambda: live(farm).keys() == titles(2), 30)
    assert listeners(farm) == [pid]
    farm.kill()
    until(lambda: (found := proc.stat(pid)) is None or found.gone, 10, what="the listener's end")


def test_a_listener_that_loses_its_server_is_begun_again_and_misses_nothing(
    ann: Account, farm_of: Made
) -> None:
    with Proxy(ann.server.port) as proxy:
        farm = farm_of(ann.options(port=proxy.port), watch=True, limits={"cool": "1s"}, retry={"base": "1s"})
        farm.start()
        until(lambda: any("IDLE" in line for line in ann.commands()), 40)
        proxy.down = True
        proxy.cut()
        degraded = "SELECT degraded FROM source WHERE name = 'mail'"
        until(lambda: "dropped the connection" in str(farm.ledger(degraded)), 30)
        ann.append(mail(3))
        proxy.down = False
        until(lambda: live(farm).keys() == titles(3), 60)
        until(lambda: farm.ledger(degraded) == [("",)], 20)
        assert farm.stop() == 0
    until(lambda: not farm.processes(), 10)


def hear(account: Account, **more: Any) -> tuple[Context, Any]:
    context = Context(Imap.Options(**account.options(**more)), secrets={"mail": PASSWORD})
    return context, Imap().listen(context)


def test_idle_is_renewed_in_time_and_ended_when_asked(ann: Account, monkeypatch: Any) -> None:
    assert listen.GLANCE_S < 29 * 60
    monkeypatch.setattr(listen, "GLANCE_S", 0.2)
    monkeypatch.setattr(listen, "SLICE_S", 0.1)
    ann.append(mail(1))
    context, heard = hear(ann)
    assert next(heard) is None
    sender = threading.Timer(1.0, ann.append, [mail(2)])
    sender.start()
    assert next(heard) == "INBOX"
    sender.join()
    context.stop_requested = True
    assert list(heard) == []
    said = [line.rpartition(" ")[2] for line in ann.commands()]
    assert said.count("IDLE") == said.count("DONE") >= 2


@pytest.mark.parametrize("idle", [True, False])
def test_the_other_mailboxes_are_looked_at_now_and_then(ann: Account, monkeypatch: Any, idle: bool) -> None:
    monkeypatch.setattr(listen, "GLANCE_S", 0.5)
    monkeypatch.setattr(listen, "PER_MAILBOX_S", 0.05)
    monkeypatch.setattr(listen, "SLICE_S", 0.05)
    has = listen.Session.has
    monkeypatch.setattr(listen.Session, "has", lambda self, it: has(self, it) and (idle or it != "IDLE"))
    ann.append(mail(1))
    ann.append(mail(2), mailbox="Work")
    context, heard = hear(ann)
    assert next(heard) is None
    ann.append(mail(3), mailbox="Work")
    assert next(heard) == "Work"
    ann.append(mail(4), mailbox="Later")
    assert next(heard) == "Later"
    ann.append(mail(5))
    assert next(heard) == "INBOX"
    with ann.client() as client:
        client.delete_folder("Later")
    assert next(heard) == "Later"
    context.stop_requested = True
    assert list(heard) == []
    assert any("IDLE" in line for line in ann.commands()) == idle


def test_what_comes_to_the_inbox_is_told_before_the_next_glance(ann: Account) -> None:
    ann.append(mail(1))
    ann.append(mail(2), mailbox="Work")
    context, heard = hear(ann)
    assert next(heard) is None
    ann.append(mail(3))
    assert next(heard) == "INBOX", "what came while nobody listened"
    for number in (4, 5):
        sender = threading.Timer(1.0, ann.append, [mail(number)])
        sender.start()
        began = time.monotonic()
        assert next(heard) == "INBOX"
        assert 0.5 < time.monotonic() - began < listen.GLANCE_S / 4
        sender.join()
    context.stop_requested = True
    assert list(heard) == []


def test_so_many_mailboxes_are_asked_about_no_more_often_than_once_a_second(
    ann: Account, monkeypatch: Any
) -> None:
    monkeypatch.setattr(listen, "GLANCE_S", 0.0)
    monkeypatch.setattr(listen, "PER_MAILBOX_S", 0.2)
    monkeypatch.setattr(listen, "SLICE_S", 0.02)
    for number in range(5):
        ann.append(mail(number), mailbox=f"Work{number}")
    context, heard = hear(ann)
    assert next(heard) is None
    began = time.monotonic()
    ann.append(mail(9), mailbox="Work3")
    assert next(heard) == "Work3"
    assert time.monotonic() - began > 1.0
    context.stop_requested = True
    assert list(heard) == []
