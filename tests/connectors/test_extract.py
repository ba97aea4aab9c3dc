"""What `local_files` reads out of one file of each kind."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from email.message import EmailMessage
from io import BytesIO
from pathlib import Path

import docx
import openpyxl
import pptx
import pytest

from farm.connector import (
    Document,
    Gone,
    InvalidInput,
    MissingDependency,
    SourceUnavailable,
    Transient,
    Unchanged,
)
from tests.connectors.conftest import Folder
from tests.support import bad_files, planted

Types = Callable[[Document], list[tuple[str, str]]]


def test_a_document_has_its_place_time_and_hash(folder: Folder) -> None:
    path = folder.write("sub/a b.txt", "some text")
    document = folder.document("sub/a b.txt")
    assert (document.key, document.uri, document.title) == ("sub/a b.txt", path.as_uri(), "a b")
    assert document.modified_at == pytest.approx(path.stat().st_mtime)
    assert len(document.content_hash) == 32


def test_the_same_content_again_is_unchanged(folder: Folder) -> None:
    held = folder.document("a.txt", "some text").content_hash
    os.utime(folder.path / "a.txt", (1, 1))
    assert folder.extracted("a.txt", context=folder.context(held=held)) == [Unchanged("a.txt")]


def test_a_file_that_vanished_is_gone(folder: Folder) -> None:
    assert folder.extracted("a.txt") == [Gone("a.txt")]
    assert folder.extracted("no/a.txt") == [Gone("no/a.txt")]


def test_a_vanished_folder_is_unavailable_and_its_files_are_not_gone(folder: Folder) -> None:
    folder.path.rmdir()
    with pytest.raises(SourceUnavailable):
        folder.extracted("a.txt")


def test_a_file_that_grows_while_it_is_read_is_tried_again(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder.write("a.txt", "some text")
    read = os.read

    def read_and_write(descriptor: int, size: int) -> bytes:
        data = read(descriptor, size)
        with path.open("ab") as file:
            file.write(b"more")
        return data

    monkeypatch.setattr(os, "read", read_and_write)
    with pytest.raises(Transient, match="changed while it was read"):
        folder.extracted("a.txt")


@pytest.mark.parametrize("what", ["pipe", "link", "socket", "folder"])
def test_what_is_no_regular_file_any_more_is_refused_without_waiting(
    folder: Folder, tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.path)
    (tmp_path / "a.txt").write_text("secret")
    path = folder.path / "a.txt"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "link":
        path.symlink_to(tmp_path / "a.txt")
    elif what == "socket":
        socket.socket(socket.AF_UNIX).bind("a.txt")
    elif what == "folder":
        path.mkdir()
    with pytest.raises(InvalidInput, match="not a regular file"):
        folder.extracted("a.txt")


def test_a_link_in_place_of_a_folder_is_not_followed(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("secret")
    (folder.path / "sub").symlink_to(tmp_path)
    assert folder.extracted("sub/a.txt") == [Gone("sub/a.txt")]


@pytest.mark.parametrize("key", ["../a.txt", "/etc/hostname", "a/../../a.txt", "a\0"])
def test_a_key_that_leads_out_of_the_folder_is_refused(folder: Folder, key: str) -> None:
    (folder.path.parent / "a.txt").write_text("secret")
    with pytest.raises(InvalidInput, match="not a path below"):
        folder.extracted(key)


def test_a_file_above_the_cap_is_refused_with_both_sizes(folder: Folder) -> None:
    folder.write("a.txt", "x" * 2_000_000)
    with pytest.raises(InvalidInput, match=r"too large: 2\.0 MB, and max_size is 1\.0 MB"):
        folder.extracted("a.txt", max_size="1MB")


def test_text_that_no_document_can_hold_is_refused(folder: Folder) -> None:
    folder.write("a.txt", b"\x07word" * 6_000_000)
    with pytest.raises(InvalidInput, match="too much text"):
        folder.extracted("a.txt")


def test_plain_text_is_cut_into_paragraphs_and_list_items(folder: Folder, types: Types) -> None:
    document = folder.document("a.txt", "First\nparagraph.\r\n\r\nSecond:\n- one\n  goes on\n- two\nafter\n")
    assert types(document) == [
        ("NarrativeText", "First\nparagraph."),
        ("NarrativeText", "Second:"),
        ("ListItem", "- one\ngoes on"),
        ("ListItem", "- two"),
        ("NarrativeText", "after"),
    ]


def test_markdown_has_its_blocks_its_title_and_its_front_matter(folder: Folder, types: Types) -> None:
    text = "---\ntags: [a]\n---\n# Head *line*\n\nPara.\n\n- one\n- two\n\n"
    text += "| a | b |\n|---|---|\n| 1 | 2 |\n\n```py\ncode\n```\n"
    document = folder.document("a.md", text)
    assert document.title == "Head *line*"
    assert document.text == text
    assert document.metadata["front_matter"] == "tags: [a]\n"
    assert types(document) == [
        ("Title", "Head *line*"),
        ("NarrativeText", "Para."),
        ("ListItem", "one"),
        ("ListItem", "two"),
        ("Table", "| a | b |\n|---|---|\n| 1 | 2 |"),
        ("CodeSnippet", "code"),
    ]


PAGE = (
    "<html><head><title>The title</title><meta name=author content=Ada><style>p {}</style></head><body><h1>Head</h1>"
    "<p>A para with <b>bold</b> caf&eacute;.</p><ul><li>one<li>two</ul>"
    "<table><tr><th>bird<th>count<tr><td>heron<td>forty-two</table><script>var no = 1</script></body></html>"
)


def test_a_page_has_its_elements(folder: Folder, types: Types) -> None:
    document = folder.document("a.html", PAGE)
    assert document.title == "The title"
    assert document.metadata["authors"] == ["Ada"]
    assert types(document) == [
        ("Title", "Head"),
        ("NarrativeText", "A para with bold café."),
        ("ListItem", "one"),
        ("ListItem", "two"),
        ("Table", "bird\tcount\nheron\tforty-two"),
    ]
    assert "forty-two" in document.text and "var no" not in document.text


def test_no_text_of_a_page_is_lost(folder: Folder, types: Types) -> None:
    page = (
        "<header>top</header><blockquote>said</blockquote><dl><dt>term<dd>meaning</dl><pre>a\n  b</pre>"
        "<details><summary>more</summary>hidden</details>one<br>two<table><tr><td><table><tr><td>inner</table>"
        "<td>outer</table><footer>bottom <h2>open"
    )
    assert types(folder.document("a.html", page)) == [
        ("NarrativeText", "top"),
        ("NarrativeText", "said"),
        ("NarrativeText", "term"),
        ("NarrativeText", "meaning"),
        ("CodeSnippet", "a\n  b"),
        ("NarrativeText", "more"),
        ("NarrativeText", "hidden"),
        ("NarrativeText", "one\ntwo"),
        ("Table", "inner"),
        ("Table", "outer"),
        ("NarrativeText", "bottom"),
        ("Title", "open"),
    ]


def test_a_letter_has_headings_lists_and_tables_also_in_its_text(folder: Folder, types: Types) -> None:
    document = folder.document("a.docx", planted.a_docx())
    assert (document.title, document.metadata["authors"]) == ("A letter", ["Ada Crane"])
    assert types(document) == [
        ("Title", "Of birds"),
        ("NarrativeText", f"In winter {planted.PHRASE}, and nobody asks."),
        ("ListItem", "first item of the list"),
        ("ListItem", "second item of the list"),
        ("Table", "bird\tcount\nheron\tforty-two"),
    ]
    for word in ("first item", "second item", "forty-two", planted.PHRASE):
        assert word in document.text


def test_page_breaks_are_no_content(folder: Folder) -> None:
    letter = docx.Document()
    letter.add_paragraph("before")
    letter.add_page_break()
    letter.add_paragraph("after")
    file = BytesIO()
    letter.save(file)
    for document in (folder.document("a.docx", file.getvalue()), folder.document("a.pdf", planted.a_pdf())):
        assert "PAGE" not in document.text.upper().replace("SECOND PAGE", "")
        assert not [element for element in document.elements if "PAGE BREAK" in element.text]


def test_a_pdf_has_pages_an_author_and_a_time(folder: Folder) -> None:
    document = folder.document("a.pdf", planted.a_pdf())
    assert document.title == "A report"
    assert document.metadata["authors"] == ["Ada Crane"]
    assert document.metadata["page_count"] == 2
    assert document.created_at is not None
    assert [element.metadata["page"] for element in document.elements] == [1, 2]


def test_a_talk_has_the_titles_and_tables_of_its_slides(folder: Folder, types: Types) -> None:
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[1])
    slide.shapes.title.text = "Slide title"
    body = slide.placeholders[1].text_frame
    body.paragraphs[0].add_run().text = "quite "
    body.paragraphs[0].add_run().text = "bold"
    body.paragraphs[0].runs[1].font.bold = True
    table = slide.shapes.add_table(1, 2, 0, 0, 9, 9).table
    table.cell(0, 0).text, table.cell(0, 1).text = "heron", "forty-two"
    slide.notes_slide.notes_text_frame.text = "to be said"
    file = BytesIO()
    deck.save(file)
    document = folder.document("a.pptx", file.getvalue())
    assert document.title == "Slide title"
    assert types(document) == [
        ("Title", "Slide title"),
        ("NarrativeText", "quite bold"),
        ("Table", "heron\tforty-two"),
    ]
    assert "to be said" in document.text and "forty-two" in document.text


def test_a_workbook_has_a_table_for_each_of_its_sheets(folder: Folder, types: Types) -> None:
    book = openpyxl.Workbook()
    book.active.title = "Birds"
    book.active.append(["bird", "count"])
    book.active.append(["heron", 42])
    book.create_sheet("Places").append(["river"])
    file = BytesIO()
    book.save(file)
    document = folder.document("a.xlsx", file.getvalue())
    assert types(document) == [
        ("Title", "Birds"),
        ("Table", "bird\tcount\nheron\t42"),
        ("Title", "Places"),
        ("Table", "river"),
    ]
    assert "heron" in document.text and "Places" in document.text


def test_pages_without_a_letter_are_a_document_that_says_so(folder: Folder) -> None:
    document = folder.document("scan.pdf", planted.a_pdf(text=" ", pages=1))
    assert (document.title, document.text, document.metadata["scanned"]) == ("A report", "", True)


def test_a_mail_has_its_headers_one_body_and_the_names_of_its_attachments(folder: Folder) -> None:
    document = folder.document("a.eml", planted.a_mail())
    assert document.title == "Grüße vom Fluss"
    assert document.created_at == 1704186000
    assert document.metadata["from"] == ["ada@example.org"]
    assert document.metadata["attachments"] == ["map.bin"]
    assert "From: Ada Crane <ada@example.org>" in document.text
    assert document.text.count(planted.PHRASE) == 1


def test_a_forwarded_mail_is_read_with_its_headers(folder: Folder) -> None:
    inner, outer = EmailMessage(), EmailMessage()
    inner["Subject"] = "the inner one"
    inner.set_content("<p>only <i>markup</i></p>", subtype="html")
    outer["Subject"] = "the outer one"
    outer.set_content("see below")
    outer.add_attachment(inner)
    text = folder.document("a.eml", outer.as_bytes()).text
    assert "see below" in text and "Subject: the inner one" in text and "only markup" in text


@pytest.mark.parametrize(
    "mail",
    [
        b"Subject: =?bad?x?=E9?=\r\nFrom: \xff\xfe\r\n\r\nbody",
        b"Content-Type: text/plain; charset=no-such\r\nSubject: s\r\n\r\nbody \xe9",
        b"Content-Type: multipart/mixed; boundary=x\r\nSubject: s\r\n\r\nbody without parts",
        b"Content-Transfer-Encoding: base64\r\nSubject: s\r\n\r\nbody !!!",
        b"Content-Type: text/html; charset=utf-16\r\nSubject: s\r\n\r\n<p>body",
        b"Date: whenever\r\nTo: ,,;;<\r\nSubject: s\r\nContent-Disposition: attachment; filename*=x''%FF\r\n\r\nbody",
    ],
)
def test_an_odd_mail_is_read_as_far_as_it_goes(folder: Folder, mail: bytes) -> None:
    assert isinstance(folder.document("a.eml", mail), Document)


def test_json_is_searchable_by_its_letters(folder: Folder) -> None:
    assert "café" in folder.document("a.json", b'{"a": "caf\\u00e9"}').text
    assert folder.document("b.json", '{"a": broken').text == '{"a": broken'


def test_a_table_of_text_is_one_table(folder: Folder, types: Types) -> None:
    assert types(folder.document("a.csv", "bird,count\nheron,42\n")) == [("Table", "bird,count\nheron,42")]


def test_source_code_is_read_as_text(folder: Folder) -> None:
    document = folder.document("a.py", "def f():\n\treturn 1\n")
    assert (document.text, document.mime) == ("def f():\n\treturn 1\n", "text/plain")


def test_markup_that_is_no_page_is_read_without_its_tags(folder: Folder) -> None:
    feed = (
        '<?xml version="1.0" encoding="iso-8859-1"?><!DOCTYPE rss><rss><channel><title>The feed</title><item>'
        '<description><![CDATA[<p>Hello &amp; café</p>]]></description><outline text="said here"/></item></rss>'
    )
    document = folder.document("a.xml", feed.encode("latin-1"))
    assert document.title == "The feed"
    assert document.text.split("\n") == ["The feed", "Hello & café", "said here"]


@pytest.mark.parametrize(
    ("text", "charset"),
    [
        ("Grüße aus Köln, schöne Straße", "latin-1"),
        ("café", "cp1252"),
        ("Příliš žluťoučký kůň úpěl ďábelské ódy", "cp1250"),
        ("Привет мир, как дела сегодня", "cp1251"),
        ("こんにちは世界。今日は良い天気", "shift_jis"),
        ("漢字とかな", "iso2022_jp"),
        ("한국어 문서입니다", "iso2022_kr"),
        ("Ænean — 漢字", "utf-16"),
        ("wide letters without a mark", "utf-32-be"),
        ("with a mark", "utf-8-sig"),
    ],
)
def test_text_comes_out_in_unicode_whatever_its_charset(folder: Folder, text: str, charset: str) -> None:
    assert folder.document("a.txt", text.encode(charset)).text == text


def test_a_page_is_decoded_as_it_declares_or_as_it_is(folder: Folder) -> None:
    page = "<html><head><meta charset='{}'></head><body><p>Grüße aus Köln</p></body></html>"
    assert "Grüße" in folder.document("a.html", page.format("iso-8859-1").encode("latin-1")).text
    assert "Grüße" in folder.document("b.html", page.format("iso-8859-1").encode()).text
    assert "Grüße" in folder.document("c.html", page.format("koi8-r").encode("utf-16")).text


def test_the_bytes_overrule_the_name(folder: Folder) -> None:
    bad_files.lay_down(folder.path / "bad", folder.path)
    mimes = {
        "really-a-pdf.txt": "application/pdf",
        "really-a-page.pdf": "text/html",
        "really-text.docx": "text/plain",
        "really-a-letter.doc": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "mailbox-message": "message/rfc822",
    }
    for name, mime in mimes.items():
        document = folder.document(f"bad/{name}")
        assert document.mime == mime
        assert planted.PHRASE in document.text or "wearing another coat" in document.text


@pytest.mark.parametrize("name", ["a.pdf", "a.docx", "a.epub", "a.rtf", "a.xls"])
def test_without_the_library_the_refusal_says_how_to_install_it(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, "kreuzberg", None)
    samples = {"a.pdf": planted.a_pdf(), "a.docx": planted.a_docx(), "a.rtf": b"{\\rtf1 text}"}
    samples |= {"a.epub": an_epub(), "a.xls": an_ole_file("Workbook")}
    folder.write(name, samples[name])
    with pytest.raises(MissingDependency, match=r"pip install 'connector-farm\[documents\]'"):
        folder.extracted(name)


def test_a_book_and_a_rich_text_are_read(folder: Folder, types: Types) -> None:
    book = folder.document("a.epub", an_epub())
    assert (book.title, book.metadata["authors"]) == ("The book", ["Ada Crane"])
    assert ("Title", "Chapter") in types(book) and "quiet text" in book.text
    assert "café €" in folder.document("a.rtf", rb"{\rtf1\ansi\ansicpg1252 caf\'e9 \u8364?}").text


def an_epub() -> bytes:
    from zipfile import ZipFile

    file = BytesIO()
    with ZipFile(file, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr(
            "META-INF/container.xml",
            '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0"><rootfiles>'
            '<rootfile full-path="b.opf" media-type="application/oebps-package+xml"/></rootfiles></container>',
        )
        archive.writestr(
            "b.opf",
            '<package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata '
            'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>The book</dc:title><dc:creator>Ada Crane'
            '</dc:creator></metadata><manifest><item id="c" href="c.xhtml" media-type="application/xhtml+xml"/>'
            '</manifest><spine><itemref idref="c"/></spine></package>',
        )
        archive.writestr("c.xhtml", "<html><body><h1>Chapter</h1><p>quiet text</p></body></html>")
    return file.getvalue()


def an_ole_file(stream: str) -> bytes:
    data = bytearray(2048)
    data[:8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
    data[30] = 9
    data[512 : 512 + 2 * len(stream)] = stream.encode("utf-16-le")
    return bytes(data)
