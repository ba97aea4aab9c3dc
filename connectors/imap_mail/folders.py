"""Which mailboxes are read."""

from __future__ import annotations

import re
from fnmatch import translate

from connectors.imap_mail.options import ImapOptions
from connectors.imap_mail.session import Session
from farm.connector import Permanent, SourceUnavailable

_NO_MAIL = {b"\\noselect", b"\\nonexistent"}
_LEFT_OUT = {b"\\junk", b"\\trash", b"\\drafts"}
_ALL = b"\\all"
_BY_NAME = re.compile(r"(?:.*[./])?(?:spam|junk|junk e-?mail|trash|deleted (?:items|messages)|drafts)", re.I)
"""For servers that mark no mailbox by its use (RFC 6154)."""


def chosen(session: Session) -> list[str]:
    """Names, sorted, INBOX first. Raises Permanent where the patterns choose none."""
    options = session.options
    there = [
        ({flag.lower() for flag in flags}, _slashed(name, delimiter), name)
        for flags, delimiter, name in session.folders()
    ]
    if not there:  # there is always an INBOX: this server is not itself
        raise SourceUnavailable(f"{options.place} lists no mailbox")
    there = [entry for entry in there if not entry[0] & _NO_MAIL]
    names = _wanted(options, there)
    if not names:
        raise Permanent(f"none of the {len(there)} mailboxes of {options.user} matches folders and exclude")
    return sorted(names, key=lambda name: (name.upper() != "INBOX", name))


def _wanted(options: ImapOptions, there: list[tuple[set[bytes], str, str]]) -> list[str]:
    left = [entry for entry in there if not _matches(entry[1], options.exclude)]
    if options.folders:
        return [name for _, path, name in left if _matches(path, options.folders)]
    every = [name for flags, _, name in left if _ALL in flags]
    if every:  # the others are only views of it, and each message would land once more
        return every
    marked = any(flags & _LEFT_OUT for flags, _, _ in there)
    return [
        name
        for flags, path, name in left
        if not flags & _LEFT_OUT and (marked or not _BY_NAME.fullmatch(path))
    ]


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    """
    >>> _matches("Lists/python", ("lists/*",)), _matches("INBOX", ("inbox",)), _matches("Lists", ("INBOX",))
    (True, True, False)
    """
    return any(re.fullmatch(translate(pattern), path, re.I) for pattern in patterns)


def _slashed(name: str, delimiter: bytes | None) -> str:
    mark = delimiter.decode("ascii", "replace") if delimiter else "/"
    return name.replace(mark, "/") if mark != "/" else name
