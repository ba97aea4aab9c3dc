"""Messages for the tests."""

from __future__ import annotations


def mail(number: int, text: str = "", *, headers: str = "", size: int = 0) -> bytes:
    """A message of its own Message-ID; `size` more bytes of words."""
    head = (
        f"Message-ID: <m{number}@x.example>\r\nDate: Mon, 1 Jan 2024 10:00:00 +0000\r\n"
        f"From: Ann Example <ann@x.example>\r\nTo: Bob <bob@x.example>\r\n"
        f"Subject: Mail number {number}\r\n{headers}\r\n"
    )
    words = "words and more words of a letter\r\n" * (size // 34)
    return (head + (text or f"This is what mail {number} says.\r\n") + words).encode()
