r"""Keys of files: the path relative to the folder with `/` between its parts, valid UTF-8, always reversible.

A file name is bytes. Bytes that are not UTF-8 stand as `\xHH` in the key; a name that holds such a sequence
literally has its backslash written `\x5c`, so that no two files share a key and the key alone finds the file.

>>> key_of("caf\udce9/menu.txt")
'caf\\xe9/menu.txt'
>>> key_of(r"caf\xe9")
'caf\\x5cxe9'
>>> path_of(key_of(r"caf\xe9")), path_of(key_of("caf\udce9"))
('caf\\xe9', 'caf\udce9')
"""

from __future__ import annotations

import os
import re
from urllib.parse import quote_from_bytes

_LITERAL = re.compile(rb"\\(?=x[0-9a-f]{2})")
_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")


def key_of(path: str) -> str:
    """The key of a relative path as `os` gives it (surrogates for bytes that are not UTF-8)."""
    if path.isascii() and "\\" not in path:
        return path
    return _LITERAL.sub(rb"\\x5c", os.fsencode(path)).decode("utf-8", "backslashreplace")


def path_of(key: str) -> str:
    """The relative path of a key, as `os` takes it."""
    if "\\" not in key:
        return key
    return os.fsdecode(_ESCAPE.sub(lambda m: bytes([int(m[1], 16)]), key.encode()))


def uri_of(path: str | os.PathLike[str]) -> str:
    """file:// URI of an absolute path, whatever its bytes.

    >>> uri_of("/n/caf\\udce9 1")
    'file:///n/caf%E9%201'
    """
    return "file://" + quote_from_bytes(os.fsencode(path))
