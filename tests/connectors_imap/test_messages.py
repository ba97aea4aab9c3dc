"""What messages land as: threads, attachments, odd and hostile ones."""

from __future__ import annotations

import base64
import random
import re
import time
from email.message import EmailMessage
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from typing import Any

import pytest

from connectors.imap_mail.bodies import Fetched
from connectors.imap_mail.documents import documents
from connectors.imap_mail.options import ImapOptions
from farm.connector import Document, InvalidInput, Transient, Unit
from tests.connectors_imap.mails import mail
from tests.connectors_imap.proxy import Proxy
from tests.connectors_imap.test_look import Source
from tests.support.corpus import real
from tests.support.dovecot import Account

UNIT = Unit("INBOX/7.1", "v", {}, "imaps://ann@x.example/INBOX;UIDVALIDITY=7/;UID=1")


def read(raw: bytes, **options: Any) -> list[Document]:
    known = ImapOptions(host="x.example", user="ann", password="mail", **options)
    return list(documents(UNIT, Fetched(raw, 1_700_000_000.0), "hash", known))


def test_all_messages_of_a_thread_name_its_first(ann: Account) -> None:
    answer = mail(2, headers="In-Reply-To: <m1@x.example>\r\nReferences: <m1@x.example>\r\n")
    second = mail(
        3, headers="In-Reply-To: <m2@x.example>\r\nReferences: <m1@x.example>\r\n <m2@x.example>\r\n"
    )
    without = mail(4, headers="In-Reply-To: <m1@x.example> (Ann, on Monday)\r\n")
    found = [read(raw)[0].metadata for raw in (mail(1), answer, second, without)]
    assert {each["thread"] for each in found} == {"<m1@x.example>"}
    assert found[2]["references"] == ["<m1@x.example>", "<m2@x.example>"]
    assert found[2]["in_reply_to"] == "<m2@x.example>"


def with_attachments() -> bytes:
    message = EmailMessage()
    message["Subject"], message["From"], message["Message-ID"] = (
        "Grüße",
        "Jürgen <j@x.example>",
        "<a@x.example>",
    )
    message.set_content("See the files.")
    message.add_attachment(b"name;sum\nann;3\n", maintype="text", subtype="csv", filename="Übersicht.csv")
    message.add_attachment(
        b"\x89PNG\r\n\x1a\n" + b"\0" * 50, maintype="image", subtype="png", filename="logo.png"
    )
    message.add_attachment(b"%PDF-1.4 cut", maintype="application", subtype="pdf", filename="cut.pdf")
    message.add_attachment("x" * 5000, filename="long.txt")
    return message.as_bytes()


def test_attachments_are_read_like_files_each_a_document_of_the_message() -> None:
    message, table, long = read(with_attachments())
    assert message.title == "Grüße"
    assert message.metadata["attachments"] == ["Übersicht.csv", "logo.png", "cut.pdf", "long.txt"]
    assert message.metadata["attachments_unread"].keys() == {"cut.pdf"}
    assert (table.key, table.title, table.mime) == ("INBOX/7.1#1", "Übersicht.csv", "text/csv")
    assert table.uri == f"{UNIT.uri}#1"
    assert table.elements[0].type == "Table"
    assert table.metadata["attached_to"] == "Grüße"
    assert table.metadata["from"] == ["j@x.example"]
    assert long.key == "INBOX/7.1#4"


def test_attachments_are_left_out_by_policy() -> None:
    [message, table] = read(with_attachments(), max_attachment=1000)
    assert table.title == "Übersicht.csv"
    assert message.metadata["attachments_unread"]["long.txt"] == "left out: 5,001 bytes"
    [message] = read(with_attachments(), attachments=False)
    assert len(message.metadata["attachments"]) == 4


def test_of_a_large_message_only_what_is_worth_it_is_fetched(ann: Account) -> None:
    noise = random.Random(1).randbytes(300_000)
    outer = MIMEMultipart()
    outer["Subject"], outer["Message-ID"] = "A large one", "<large@x.example>"
    both = MIMEMultipart("alternative")
    both.attach(MIMEText("The plain text of it.", "plain", "utf-8"))
    both.attach(MIMEText("<p>The <b>rich</b> text of it.</p>", "html", "utf-8"))
    outer.attach(both)
    for name, content in (
        ("video.bin", noise),
        ("notes.txt", b"Notes about the meeting, kept."),
        ("b.bin", noise),
    ):
        part = MIMEApplication(content)
        part.add_header("Content-Disposition", "attachment", filename=name)
        outer.attach(part)
    ann.append(outer.as_bytes())
    source = Source(**ann.options(max_size="100kB", max_attachment="50kB"))
    [unit] = source.units()
    message, notes = source.read(unit)
    assert message.text.endswith("The plain text of it.")
    assert "rich" not in message.text
    assert message.metadata["fetched"] == "in parts"
    assert message.metadata["attachments"] == ["video.bin", "notes.txt", "b.bin"]
    assert message.metadata["attachments_unread"].keys() == {"video.bin", "b.bin"}
    assert notes.text == "Notes about the meeting, kept."
    assert notes.key.endswith("#2")
    assert not ann.fetches(), "never as a whole"
    assert not [line for line in ann.commands() if "BODY.PEEK[2]" in line or "BODY.PEEK[4]" in line]


def test_a_large_message_without_parts_is_read_as_far_as_it_may(ann: Account) -> None:
    ann.append(mail(1, "The beginning of it.\r\n", size=300_000))
    source = Source(**ann.options(max_size="100kB"))
    [unit] = source.units()
    [message] = source.read(unit)
    assert message.title == "Mail number 1"
    assert message.metadata["fetched"] == "in parts"


def hostile() -> dict[str, bytes]:
    head = b"Subject: x\r\nMessage-ID: <b@x.example>\r\nMIME-Version: 1.0\r\n"
    deep = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (i, i) for i in range(3000)
    )
    nested = b"".join(b"Content-Type: message/rfc822\r\n\r\nSubject: s%d\r\n" % i for i in range(2000))
    many = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 60_000 + b"--b--\r\n"
    page = b"Content-Type: text/html\r\n\r\n" + b"<div>" * 200_000 + b"deep"
    words = b"=?utf-8?q?=61?= " * 60_000
    return {
        "nested parts": head + deep,
        "nested messages": head + nested + b"\r\nend\r\n",
        "many parts": head + many,
        "nested tags": head + page,
        "nested comments": head + b"To: " + b"(" * 300_000 + b"\r\n\r\ntext\r\n",
        "many addresses": head + b"To: " + b"Ann Person <ann@x.example>,\r\n " * 40_000 + b"\r\n\r\ntext\r\n",
        "encoded words": head + b"From: " + words + b"\r\n\r\ntext\r\n",
        "many headers": head + b"X-Y: z\r\n" * 200_000 + b"\r\ntext\r\n",
        "long boundary": head
        + b"Content-Type: multipart/mixed; boundary="
        + b"a" * 300_000
        + b"\r\n\r\n--\r\n",
        "quoted pairs": head + b'To: "' + b"\\a" * 100_000 + b"\r\n\r\ntext\r\n",
        "parameters": head
        + b"Content-Type: text/plain"
        + b"".join(b";\r\n name*%d*=a" % i for i in range(3000))
        + b"\r\n\r\ntext",
        "not base64": head + b"Content-Transfer-Encoding: base64\r\n\r\n" + b"!" * 500_000,
    }


@pytest.mark.parametrize("kind", sorted(hostile()))
def test_a_mail_bomb_costs_little_time(kind: str) -> None:
    began = time.process_time()
    try:
        found = read(hostile()[kind])
        assert found
    except InvalidInput as error:
        assert "\n" not in str(error)
    assert time.process_time() - began < 8


def test_an_unknown_charset_and_broken_parts_are_read_as_far_as_they_go() -> None:
    [message] = read(
        b"Subject: =?x-unknown?q?Gr=C3=BC=C3=9Fe?= =?utf-8?b?broken\xff?=\r\nFrom: \xfc@x.example\r\n"
        b'Content-Type: text/plain; charset="no-such-charset"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
        + base64.b64encode("Schöne Grüße aus Köln".encode())
    )
    assert "Grüße" in message.title
    assert "Schöne Grüße aus Köln" in message.text


def test_the_odd_mails_of_cpython_are_read_or_refused_one_by_one(ann: Account) -> None:
    odd = [path.read_bytes() for path in sorted((real() / "mail").glob("msg_*.eml"))]
    if not odd:
        pytest.skip("this Python brings no tests of its own")
    assert len(odd) > 40
    ann.fill(odd)
    source = Source(**ann.options())
    units = source.units()
    assert len(units) == len(odd)
    refused = 0
    for unit in units:
        try:
            assert source.read(unit)
        except InvalidInput:
            refused += 1
    assert refused <= 2


def test_a_message_of_which_the_server_gives_no_content_is_refused_and_the_others_are_read(
    ann: Account,
) -> None:
    ann.append(*(mail(number) for number in range(1, 5)))
    with Proxy(ann.server.port) as proxy:
        source = Source(**ann.options(port=proxy.port))
        units = source.units()
        without = re.compile(rb"(UID 2 [^{]*BODY\[\]) \{(\d+)\}\r\n(.*)", re.DOTALL)

        def edit(answer: bytes) -> bytes:
            return without.sub(lambda found: found[1] + b" NIL" + found[3][int(found[2]) :], answer)

        proxy.edit = edit
        for at, unit in enumerate(units):
            if unit.key.endswith(".2"):
                with pytest.raises(Transient, match="gave no content of message 2"):
                    source.read(unit, ahead=tuple(units[at + 1 :]))
            else:
                assert source.read(unit, ahead=tuple(units[at + 1 :]))
        assert sorted(ann.fetches()) == [1, 2, 3, 4]
