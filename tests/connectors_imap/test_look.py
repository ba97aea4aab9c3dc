"""What discover tells, asked of the connector itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from connectors.imap import Imap
from connectors.imap_mail import session
from farm.connector import Document, Gone, Item, Listing, Permanent, Record, State, Unit
from tests.connectors_imap.mails import mail
from tests.connectors_imap.proxy import Proxy
from tests.support.context import Context
from tests.support.dovecot import PASSWORD, Account, Dovecot
from tests.support.wait import until


class Source:
    """One source, looked at again and again with the cursor it gave."""

    def __init__(self, **options: Any) -> None:
        self.options = Imap.Options(**options)
        self.cursor: Any = None

    def context(self, **more: Any) -> Context:
        return Context(self.options, secrets={"mail": PASSWORD}, **more)

    def look(self, **more: Any) -> list[Item]:
        items = list(Imap().discover(self.context(**more), self.cursor))
        self.cursor = next((item.value for item in items if isinstance(item, State)), self.cursor)
        return items

    def units(self, **more: Any) -> list[Unit]:
        return [item for item in self.look(**more) if isinstance(item, Unit)]

    def read(self, unit: Unit, **more: Any) -> list[Document]:
        items = list(Imap().extract(self.context(**more), unit))
        assert all(isinstance(item, Document) for item in items)
        return [item for item in items if isinstance(item, Document)]

    def mailboxes(self) -> list[str]:
        return sorted({unit.data["mailbox"] for unit in self.units()})


def test_a_message_that_came_after_the_connection_opened_its_mailbox_is_read_all_the_same(
    ann: Account,
) -> None:
    """Another worker has listed it, and this one has kept its connection since before it came."""
    ann.append(mail(1))
    source = Source(**ann.options())
    [first] = source.units()
    assert source.read(first)
    ann.append(mail(2), mail(3))
    second, third = (
        Unit(first.key[:-1] + str(uid), f"v{uid}", {**first.data, "uid": uid}, first.uri) for uid in (2, 3)
    )
    read = [
        document.title for unit in (second, third) for document in source.read(unit, ahead=(first, third))
    ]
    assert read == ["Mail number 2", "Mail number 3"]
    assert sum("EXAMINE" in line for line in ann.commands()) == 2


def flags(items: list[Item]) -> dict[str, Any]:
    """UID → flags, None where they went."""
    return {
        item.key.rpartition(".")[2]: None if item.deleted else item.record["flags"]
        for item in items
        if isinstance(item, Record)
    }


@pytest.fixture(scope="module")
def plain() -> Iterator[Dovecot]:
    """A server that keeps no MODSEQ and sends nothing by itself."""
    with Dovecot(capability="IMAP4rev1 SASL-IR UIDPLUS NAMESPACE") as server:
        yield server


@pytest.fixture(params=["qresync", "condstore", "plain"])
def bob(request: pytest.FixtureRequest, ann: Account, plain: Dovecot, monkeypatch: Any) -> Account:
    """The same mailbox on servers that can do less and less."""
    if request.param == "plain":
        return plain.account(f"bob-{ann.user}")
    if request.param == "condstore":
        able = session.Session.has
        monkeypatch.setattr(session.Session, "has", lambda self, it: it != "QRESYNC" and able(self, it))
    return ann


def test_changes_are_followed_whatever_the_server_can(bob: Account) -> None:
    bob.append(*(mail(number) for number in range(1, 7)))
    source = Source(**bob.options())
    first = source.look()
    assert [unit.data["uid"] for unit in first if isinstance(unit, Unit)] == [6, 5, 4, 3, 2, 1]
    assert first[-1] == Listing(complete=True)
    assert flags(first) == {str(uid): [] for uid in range(1, 7)}

    assert source.look() == [Listing(complete=False)]

    with bob.client() as client:
        client.select_folder("INBOX")
        client.add_flags([2], ["\\Flagged"])
    changed = source.look()
    assert flags(changed)["2"] == ["\\Flagged"]
    assert not any(isinstance(item, Unit | Gone) for item in changed)
    assert source.look() == [Listing(complete=False)]

    bob.expunge(4, 5)
    bob.append(mail(8))
    third = source.look()
    assert {item.key.rpartition(".")[2] for item in third if isinstance(item, Gone)} == {"4", "5"}
    assert [item.data["uid"] for item in third if isinstance(item, Unit)] == [7]
    assert {uid for uid, told in flags(third).items() if told is None} == {"4", "5"}
    assert source.look() == [Listing(complete=False)]

    bob.expunge(*(uid for uid in (1, 2, 3, 6, 7)))
    assert len([item for item in source.look() if isinstance(item, Gone)]) == 5
    assert source.look() == [Listing(complete=False)]


def test_the_cursor_stays_small_however_many_messages(ann: Account) -> None:
    ann.fill(mail(number) for number in range(1000))
    source = Source(**ann.options())
    source.look()
    ann.expunge(7)
    source.look()
    assert source.cursor["mailboxes"]["INBOX"]["uids"] == "1:6,8:1000"


def test_an_event_looks_at_its_mailbox_only_unless_something_left_it(ann: Account) -> None:
    ann.append(mail(1))
    ann.append(mail(2), mailbox="Work")
    source = Source(**ann.options())
    source.look()
    ann.append(mail(3))
    ann.append(mail(4), mailbox="Work")
    items = source.look(paths=["INBOX"])
    assert [item.data["mailbox"] for item in items if isinstance(item, Unit)] == ["INBOX"]
    assert items[-1] == Listing(complete=False)
    with ann.client() as client:
        client.select_folder("INBOX")
        client.move([1], "Work")
    moved = source.look(paths=["INBOX"])
    assert {item.data["mailbox"] for item in moved if isinstance(item, Unit)} == {"Work"}
    assert sum(isinstance(item, Gone) for item in moved) == 1


def test_mailboxes_are_chosen_by_use_and_by_pattern(ann: Account) -> None:
    for mailbox in ("INBOX", "Trash", "Junk", "Work", "Lists/python", "Lists/größer", "Archive"):
        ann.append(mail(1), mailbox=mailbox)

    def chosen(**options: Any) -> list[str]:
        return Source(**ann.options(**options)).mailboxes()

    assert chosen() == ["Archive", "INBOX", "Lists/größer", "Lists/python", "Work"]
    assert chosen(folders=["inbox", "lists/*"]) == ["INBOX", "Lists/größer", "Lists/python"]
    assert chosen(folders=["*"], exclude=["Lists/g*", "Archive"]) == [
        "INBOX",
        "Junk",
        "Lists/python",
        "Trash",
        "Work",
    ]
    with pytest.raises(Permanent, match=r"none of the .* mailboxes of .* matches folders"):
        chosen(folders=["Nowhere"])


def test_only_what_came_since_a_day_is_read_and_another_day_is_followed(ann: Account) -> None:
    ann.fill(mail(number) for number in range(3))  # received in November 2023
    ann.append(mail(10))
    source = Source(**ann.options(since="2024-01-01"))
    assert len(source.units()) == 1
    cursor = source.cursor
    wider = Source(**ann.options(since="2023-01-01"))
    wider.cursor = cursor
    items = wider.look()
    assert sum(isinstance(item, Unit) for item in items) == 3
    assert not any(isinstance(item, Gone) for item in items)
    narrow = Source(**ann.options(since="2024-01-01"))
    narrow.cursor = wider.cursor
    assert sum(isinstance(item, Gone) for item in narrow.look()) == 3


def test_a_message_without_an_identity_gets_one_from_all_its_headers(ann: Account) -> None:
    one = b"Received: from a by b; 1\r\nSubject: same\r\nDate: Mon, 1 Jan 2024 10:00:00 +0000\r\n\r\ntext\r\n"
    ann.append(one, one.replace(b"; 1", b"; 2"))
    first, second = Source(**ann.options()).units()
    assert first.version != second.version


def test_a_cursor_of_another_form_is_a_first_look(ann: Account) -> None:
    ann.append(mail(1))
    source = Source(**ann.options())
    for strange in ({"form": 99}, ["what"], {"form": 1, "mailboxes": {"INBOX": {"uids": "x"}}}, 7):
        source.cursor = strange
        assert len(source.units()) == 1


def test_one_connection_serves_the_jobs_of_a_worker_and_is_closed_when_idle(
    ann: Account, monkeypatch: Any
) -> None:
    ann.append(*(mail(number) for number in range(1, 6)))
    with Proxy(ann.server.port) as proxy:
        source = Source(**ann.options(port=proxy.port))
        for unit in source.units():
            source.read(unit)
        assert proxy.connections == 1
        kept = session._kept
        assert kept
        monkeypatch.setattr(session, "KEPT_S", 0.5)
        until(lambda: not kept[1].is_open, 15)
        assert source.look() == [Listing(complete=False)]
        assert proxy.connections == 2


def test_what_a_worker_reads_next_comes_with_one_command(ann: Account) -> None:
    ann.append(*(mail(number) for number in range(1, 31)))
    source = Source(**ann.options())
    units = source.units()
    for at, unit in enumerate(units):
        [document] = source.read(unit, ahead=tuple(units[at + 1 : at + 20]))
        assert document.key == unit.key
    bodies = [line for line in ann.commands() if "BODY.PEEK[]" in line]
    assert len(bodies) == 2
    assert sorted(ann.fetches()) == list(range(1, 31))


def test_nothing_is_marked_as_read(ann: Account) -> None:
    ann.append(mail(1))
    source = Source(**ann.options())
    [unit] = source.units()
    source.read(unit)
    with ann.client() as client:
        client.select_folder("INBOX", readonly=True)
        assert client.search("SEEN") == []
    assert not [line for line in ann.commands() if " SELECT " in line and "EXAMINE" not in line][1:]


def test_a_message_that_is_gone_meanwhile_is_no_error(ann: Account) -> None:
    ann.append(mail(1), mail(2))
    source = Source(**ann.options())
    units = source.units()
    ann.expunge(2)
    assert source.read(units[0], ahead=(units[1],)) == []
    assert len(source.read(units[1])) == 1


def test_a_stop_ends_a_look_without_a_listing(ann: Account) -> None:
    ann.append(*(mail(number) for number in range(1, 6)))
    source = Source(**ann.options())
    context = source.context()
    looked: Callable[..., Iterator[Item]] = Imap().discover
    items = looked(context, None)
    next(items)
    context.stop_requested = True
    assert list(items) == []


def test_each_request_takes_its_turn_under_the_limits_of_the_source(ann: Account) -> None:
    ann.append(mail(1))
    source = Source(**ann.options())
    context = source.context()
    [unit] = [item for item in Imap().discover(context, None) if isinstance(item, Unit)]
    assert context.asked == 4, "LIST, EXAMINE, SEARCH and one FETCH"
    context = source.context(stop_requested=True)
    assert list(Imap().extract(context, unit)) == []
    assert not ann.fetches()
