"""One phrase in a PDF, a DOCX and an e-mail, each written by the library people write them with."""

from __future__ import annotations

from email.message import EmailMessage
from pathlib import Path

import docx
from fpdf import FPDF

PHRASE = "the heron keeps a quiet ledger"


def plant(folder: Path) -> list[str]:
    """Write the three; returns their keys."""
    (folder / "planted").mkdir(parents=True, exist_ok=True)
    files = {"planted/report.pdf": a_pdf(), "planted/letter.docx": a_docx(), "planted/note.eml": a_mail()}
    for key, data in files.items():
        (folder / key).write_bytes(data)
    return list(files)


def a_pdf(*, password: str = "", text: str = f"As they say, {PHRASE} by the river.", pages: int = 2) -> bytes:
    pdf = FPDF()
    pdf.set_title("A report")
    pdf.set_author("Ada Crane")
    if password:
        pdf.set_encryption(owner_password=password + "!", user_password=password)
    for page in (text, "The second page.")[:pages]:
        pdf.add_page()
        pdf.set_font("helvetica", size=12)
        pdf.multi_cell(0, 8, page)
    return bytes(pdf.output())


def a_docx(*, text: str = f"In winter {PHRASE}, and nobody asks.") -> bytes:
    from io import BytesIO

    document = docx.Document()
    document.core_properties.title = "A letter"
    document.core_properties.author = "Ada Crane"
    document.add_heading("Of birds", level=1)
    document.add_paragraph(text)
    document.add_paragraph("first item of the list", style="List Bullet")
    document.add_paragraph("second item of the list", style="List Number")
    table = document.add_table(2, 2)
    for at, word in enumerate(("bird", "count", "heron", "forty-two")):
        table.cell(at // 2, at % 2).text = word
    file = BytesIO()
    document.save(file)
    return file.getvalue()


def a_mail() -> bytes:
    mail = EmailMessage()
    mail["Subject"] = "Grüße vom Fluss"
    mail["From"] = "Ada Crane <ada@example.org>"
    mail["To"] = "Bo Finch <bo@example.org>"
    mail["Date"] = "Tue, 02 Jan 2024 10:00:00 +0100"
    mail["Message-ID"] = "<heron@example.org>"
    mail.set_content(f"Dear Bo,\n\nyou know that {PHRASE}.\n\nAda\n", charset="iso-8859-1")
    mail.add_alternative(f"<p>Dear Bo,</p><p>you know that {PHRASE}.</p>", subtype="html")
    mail.add_attachment(b"\x00\x01", maintype="application", subtype="octet-stream", filename="map.bin")
    return mail.as_bytes()
