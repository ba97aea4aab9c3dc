"""A set of UIDs, small in memory and in the cursor however many there are: sorted, closed ranges.

>>> seen = Uids.parse("1:4,7")
>>> str(seen | Uids([5, 6, 9])), str(seen - Uids([2, 3])), 7 in seen, len(seen)
('1:7,9', '1,4,7', True, 5)
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import islice

Range = tuple[int, int]


class Uids:
    """Never changed once made."""

    __slots__ = ("_ranges",)

    def __init__(self, uids: Iterable[int] = ()) -> None:
        self._ranges: list[Range] = []
        for uid in sorted(uids):
            self._append(uid, uid)

    @classmethod
    def parse(cls, text: str) -> Uids:
        """Of an IMAP sequence set, such as str() gives or a server sends; raises ValueError."""
        return cls._of(_range(part) for part in text.split(",") if part)

    @classmethod
    def _of(cls, ranges: Iterable[Range]) -> Uids:
        made = cls()
        for low, high in sorted(ranges):
            made._append(low, high)
        return made

    def _append(self, low: int, high: int) -> None:
        last = self._ranges[-1] if self._ranges else (0, -1)
        if self._ranges and low <= last[1] + 1:
            self._ranges[-1] = (last[0], max(last[1], high))
        else:
            self._ranges.append((low, high))

    def __str__(self) -> str:
        return ",".join(str(low) if low == high else f"{low}:{high}" for low, high in self._ranges)

    def __contains__(self, uid: int) -> bool:
        at = bisect_right(self._ranges, (uid, 1 << 63)) - 1
        return at >= 0 and uid <= self._ranges[at][1]

    def __iter__(self) -> Iterator[int]:
        for low, high in self._ranges:
            yield from range(low, high + 1)

    def __len__(self) -> int:
        return sum(high - low + 1 for low, high in self._ranges)

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def __or__(self, other: Uids) -> Uids:
        return Uids._of([*self._ranges, *other._ranges])

    def __sub__(self, other: Uids) -> Uids:
        left: list[Range] = []
        for low, high in self._ranges:
            for cut_low, cut_high in other._ranges[max(0, bisect_right(other._ranges, (low, 0)) - 1) :]:
                if cut_low > high:
                    break
                if cut_high < low:
                    continue
                if cut_low > low:
                    left.append((low, cut_low - 1))
                low = cut_high + 1
            if low <= high:
                left.append((low, high))
        return Uids._of(left)

    def __and__(self, other: Uids) -> Uids:
        return self - (self - other)

    def newest_first(self, size: int) -> Iterator[list[int]]:
        """All of them from the highest down, in lists of at most `size`; each list ascends."""
        falling = (uid for low, high in reversed(self._ranges) for uid in range(high, low - 1, -1))
        while chunk := list(islice(falling, size)):
            yield chunk[::-1]


def _range(part: str) -> Range:
    low, _, high = part.partition(":")
    first, last = int(low), int(high or low)
    if not 0 < min(first, last) <= max(first, last) < 1 << 32:
        raise ValueError(f"no UIDs: {part}")
    return min(first, last), max(first, last)
