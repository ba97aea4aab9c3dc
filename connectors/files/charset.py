"""Bytes to text in whatever charset they are: mark, then UTF-8, then what they declare, then a guess."""

from __future__ import annotations

import codecs
import re

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_XML = re.compile(rb"""<\?xml[^>]*?encoding\s*=\s*["']([\w.:-]+)""", re.I)
_META = re.compile(rb"""<meta[^>]*?charset\s*=\s*["']?\s*([\w.:-]+)""", re.I)
_AS_BROWSERS_DO = {"iso-8859-1": "cp1252", "iso8859-1": "cp1252", "latin-1": "cp1252", "ascii": "cp1252",
                   "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949",
                   "iso8859-9": "cp1254", "tis-620": "cp874", "iso8859-11": "cp874"}  # fmt: skip
"""What pages declare and what they are written in (WHATWG's encoding labels)."""
_SAMPLE_BYTES = 65_536
_LIKELY = [
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "cp874"),
    *("koi8_r", "koi8_u", "cp866", "cp437", "cp850", "cp852", "cp855", "mac_roman", "mac_cyrillic"),
    *(
        "iso8859_2",
        "iso8859_5",
        "iso8859_7",
        "iso8859_8",
        "cp932",
        "euc_jp",
        "gb18030",
        "big5",
        "cp949",
        "johab",
    ),
]
"""What files without a mark really come in; left to guess among all it knows, the guesser finds exotic ones."""
_ACCENTED = frozenset("àáâãäåæçèéêëìíîïñòóôõöøœùúûüÿßÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØŒÙÚÛÜŸŠšŽž")
_BROKEN_WORD = re.compile(r"[^\W\d_][¡-¶¸-¿×÷ðþÐÞýÝƒˆ˜†‡‰‹›ªº]+[^\W\d_]")
"""Signs in the middle of a word: letters of another charset."""


def decode(data: bytes, *, markup: bool = False, declared: str = "") -> tuple[str, str]:
    """The text and the charset it was in. Never fails: what no charset explains becomes U+FFFD.

    `markup`: honour the charset that XML or HTML declares in itself. Line ends become newlines.
    """
    text, charset = _decode(data, markup, declared)
    if "\0" in text:  # what a crash leaves in a log; neither JSON nor SQLite's search would like it
        text = text.replace("\0", "")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text, charset


def _decode(data: bytes, markup: bool, declared: str) -> tuple[str, str]:
    for mark, charset in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(charset, "replace"), charset
    if (wide := _wide(data[:4096])) is not None:
        return data.decode(wide, "replace"), wide
    try:
        # ISO-2022 and HZ are seven-bit: what they write would pass for ASCII.
        if b"\x1b$" not in data and b"\x1b(" not in data:
            return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        pass
    if markup and not declared:
        head = data[:2048]
        found = _XML.search(head) or _META.search(head)
        declared = found[1].decode("ascii") if found else ""
    seven_bit = (
        () if b"\x1b" not in data else ("iso2022_kr",) if b"\x1b$)C" in data[:200] else ("iso2022_jp_2",)
    )
    for charset in (_known(declared), *seven_bit):
        try:
            if charset:
                return data.decode(charset), charset
        except (UnicodeDecodeError, LookupError):
            continue
    charset = _guess(data)
    return data.decode(charset, "replace"), charset


def _known(declared: str) -> str:
    try:
        name = codecs.lookup(declared).name if declared else ""
    except LookupError:
        return ""
    return _AS_BROWSERS_DO.get(name, name)


def _wide(head: bytes) -> str | None:
    """UTF-16 and UTF-32 without a mark show by where their zeros stand."""
    if head.count(0) * 5 < len(head) or len(head) < 4:
        return None
    quarter = len(head) // 4
    zeros = [head[offset::4].count(0) for offset in range(4)]
    if zeros[0] + zeros[1] > quarter * 1.8 and zeros[3] < quarter * 0.2:
        return "utf-32-be"
    if zeros[2] + zeros[3] > quarter * 1.8 and zeros[0] < quarter * 0.2:
        return "utf-32-le"
    if zeros[1] + zeros[3] > 4 * (zeros[0] + zeros[2]):
        return "utf-16-le"
    if zeros[0] + zeros[2] > 4 * (zeros[1] + zeros[3]):
        return "utf-16-be"
    return None


def _guess(data: bytes) -> str:
    """The charset in which these bytes read most like a language; of equals the Western one."""
    from charset_normalizer import from_bytes

    sample = data[:_SAMPLE_BYTES]
    matches = from_bytes(sample, cp_isolation=_LIKELY)
    best = matches.best()
    if best is None or (_western(sample) and best.coherence == 0):
        return "cp1252"
    if _western(sample):
        as_western = next((m for m in matches if "cp1252" in (m.encoding, *m.could_be_from_charset)), None)
        if as_western is not None and as_western.coherence + 0.05 >= best.coherence:
            return "cp1252"
    return best.encoding


def _western(sample: bytes) -> bool:
    """Whether as Windows-1252 this reads like words with a few accents in them."""
    try:
        text = sample.decode("cp1252")
    except UnicodeDecodeError:
        return False
    letters = sum(map(str.isalpha, text))
    accented = sum(char in _ACCENTED for char in text)
    return accented <= letters * 0.3 and _BROKEN_WORD.search(text) is None
