"""Opening and reading without surprises: beneath the folder, a regular file, whole, unchanged meanwhile."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from farm.connector import InvalidInput, SourceUnavailable, Transient

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Content:
    """A file's bytes as they were at one moment."""

    data: bytes
    hash: str
    modified_at: float


def version_of(status: os.stat_result) -> str:
    """What discover compares: a moved file keeps it, a changed one does not."""
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}"


def open_beneath(root: Path, path: str) -> int:
    """A descriptor of the regular file at this path below `root`; no symbolic link is followed below `root`.

    Raises FileNotFoundError where there is no file any more, InvalidInput where it is none that can be read.
    """
    *folders, name = path.split("/")
    try:
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SourceUnavailable(f"there is no folder {root}") from error
    try:
        for part in folders:
            below = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = below
        # Look before opening: opening a device can act on it.
        _refuse_irregular(os.stat(name, dir_fd=folder, follow_symlinks=False))
        descriptor = os.open(name, _FILE, dir_fd=folder)
    except NotADirectoryError as error:  # a file or a link stands where a folder was
        raise FileNotFoundError(path) from error
    finally:
        os.close(folder)
    try:
        _refuse_irregular(os.fstat(descriptor))
    except InvalidInput:
        os.close(descriptor)
        raise
    return descriptor


def read(descriptor: int, *, max_bytes: int, may_be_empty: bool = False) -> Content:
    """Read the file behind this descriptor whole, and close it.

    Raises InvalidInput when it is empty (unless it may be) or larger than `max_bytes`, Transient when it changed
    meanwhile.
    """
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        before = os.fstat(descriptor)
        if before.st_size > max_bytes:
            raise InvalidInput(
                f"too large: {megabytes(before.st_size)}, and max_size is {megabytes(max_bytes)}"
            )
        # One byte more than it should have, so that a file that grows is seen to grow.
        data = _read_up_to(file.fileno(), before.st_size + 1)
        after = os.fstat(descriptor)
    if version_of(before) != version_of(after) or len(data) != before.st_size:
        raise Transient("changed while it was read")
    if not data and not may_be_empty:
        raise InvalidInput("empty file")
    return Content(data, blake2b(data, digest_size=16).hexdigest(), before.st_mtime)


def megabytes(size: int) -> str:
    """
    >>> megabytes(1_234_567), megabytes(900)
    ('1.2 MB', '900 bytes')
    """
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size:,} bytes"


def _read_up_to(descriptor: int, size: int) -> bytes:
    parts = []
    while size > 0 and (part := os.read(descriptor, min(size, 1 << 26))):
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _refuse_irregular(status: os.stat_result) -> None:
    mode = status.st_mode
    if stat.S_ISREG(mode):
        return
    what = {
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }.get(stat.S_IFMT(mode), "something else")
    raise InvalidInput(f"not a regular file any more but {what}")
