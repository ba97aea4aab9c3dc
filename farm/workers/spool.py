"""A launch's spool: the lines of its jobs in turn, and after each job one END line.

    {"type":"DOCUMENT",…}            job 1's content: bytes [start, end)
    {"type":"END","job":1,"start":0,"end":812,"prev":-1,…}
    {"type":"END","job":2,"start":907,"end":907,"prev":812,…}

Only the worker writes it. A job has ended when its END line is there; each END line says where the one
before it is, so they are found from the last one without reading content.
"""

from __future__ import annotations

import os
from operator import lt
from pathlib import Path

import msgspec

from farm.core.job import Ending, Evidence, Outcome, Reason, Usage

FLUSH_BYTES = 256 * 1024
MAX_BYTES = 2 * 1024**3
"""Most that one job may write."""
_WINDOW_BYTES = 128 * 1024
_END_BYTES = 512
"""An END line of a job that went well is shorter."""


class End(msgspec.Struct, tag="END", tag_field="type", omit_defaults=True, gc=False):
    """How a job ended, as its worker saw it. Its own offset is `end`."""

    job: int
    attempt: int
    outcome: Outcome
    message: str = ""
    reason: Reason | None = None
    retry_after_s: float | None = None
    started_at: float = 0.0
    start: int = 0
    end: int = 0
    prev: int = -1
    items: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    memory_peak_bytes: int = 0
    traceback: str = ""
    log: str = ""
    versions: str = ""
    unavailable: bool = False

    def ending(self, pid: int, memory_peak_bytes: int = 0) -> Ending:
        """As the farm hands it on; the farm's own samples may know of a higher peak."""
        evidence = None
        if self.outcome is not Outcome.SUCCEEDED:
            evidence = Evidence(self.traceback, self.log, self.versions)
        return Ending(
            self.job,
            self.attempt,
            self.outcome,
            self.message,
            self.reason,
            self.retry_after_s,
            self.started_at,
            Usage(self.wall_s, self.cpu_s, max(self.memory_peak_bytes, memory_peak_bytes)),
            self.start,
            self.end,
            self.items,
            pid,
            evidence=evidence,
            unavailable=self.unavailable,
        )


class SpoolFull(Exception):
    """The spool could not be written: the disk is full or broken."""


class Writer:
    """The worker's side: content in chunks, each END line at once, so that what ended stays ended."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._written = os.fstat(self._fd).st_size
        self._chunk = bytearray()
        self.last_end = -1
        self.ends = 0

    @property
    def offset(self) -> int:
        return self._written + len(self._chunk)

    def line(self, raw: bytes) -> None:
        self._chunk += raw
        if len(self._chunk) >= FLUSH_BYTES:
            self.flush()

    def end(self, end: End) -> None:
        """Write the END line, and everything before it."""
        end.end, end.prev = self.offset, self.last_end
        _encoder.encode_into(end, self._chunk, -1)
        self._chunk += b"\n"
        self.flush()
        self.last_end = end.end
        self.ends += 1

    def flush(self) -> None:
        try:
            while self._chunk:
                n = os.write(self._fd, self._chunk)
                self._written += n
                del self._chunk[:n]
        except OSError as error:
            raise SpoolFull(error.strerror or str(error)) from error

    def close(self) -> None:
        os.close(self._fd)


def ends(path: Path, last: int, most: int) -> list[End]:
    """The END lines, oldest first, by way of the last one's offset."""
    if last < 0:
        return []
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    try:
        return _ends_alone(fd, last, most) or _walk(fd, last, most)
    finally:
        os.close(fd)


def _ends_alone(fd: int, last: int, most: int) -> list[End] | None:
    """Of jobs that found nothing, decoded all at once, in a third of the time; None where there is content, too."""
    if last > most * _END_BYTES:
        return None
    raw = os.pread(fd, last + _WINDOW_BYTES, 0)
    raw = raw[: raw.find(b"\n", last) + 1]
    if len(raw) <= last or raw.count(b"\n") != raw.count(b'\n{"type":"END",') + raw.startswith(
        b'{"type":"END",'
    ):
        return None
    try:
        found = _decoder.decode_lines(raw)
    except msgspec.MsgspecError:
        return None
    places = [end.end for end in found]
    linked = [-1, *places[:-1]] == [end.prev for end in found]
    growing = places[0] == 0 and all(
        map(lt, places, places[1:])
    )  # so that no line of somebody else's is among them
    return found if linked and growing and places[-1] == last and len(found) <= most else None


def _walk(fd: int, last: int, most: int) -> list[End]:
    """Back from each END line to the one before it, without reading what lies between."""
    found: list[End] = []
    low = max(0, last - _WINDOW_BYTES)
    window = os.pread(fd, last - low + _WINDOW_BYTES, low)
    while last >= 0 and len(found) < most:
        if not low <= last < low + len(window):
            low = max(0, last - _WINDOW_BYTES)
            window = os.pread(fd, last - low + _WINDOW_BYTES, low)
        newline = window.find(b"\n", last - low)
        if newline < 0:
            break
        end = _decoder.decode(window[last - low : newline])
        found.append(end)
        last = end.prev
    found.reverse()
    return found


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(End)
