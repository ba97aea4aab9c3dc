"""One folder under inotify, watched anew whenever that is needed; knows what it cannot see, and says it."""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from watchdog.events import FileSystemEvent

from farm.triggers.inotify import TreeObserver

log = logging.getLogger("farm.watch")


@dataclass(frozen=True, slots=True)
class Pace:
    """The times of a watch, in seconds."""

    quiet_s: float = 0.3
    """A path fires once it was left alone for so long …"""
    max_wait_s: float = 2.0
    """… and at the latest after this."""
    pause_s: float = 0.25
    """Between two fires, so that a burst of files makes few runs."""
    look_s: float = 1.0
    """How often the folder itself is looked at: is it still there, and still the same one?"""
    poll_s: float = 60.0
    """How often everything is listed while something cannot be watched."""
    retry_s: float = 300.0
    """After which a refused watch is asked for again."""
    overflow_s: float = 60.0
    """How long lost events are told of."""


class Tree:
    """`look` belongs to one thread; watchdog's threads call back from theirs."""

    def __init__(
        self, path: Path, pace: Pace, on_event: Callable[[FileSystemEvent], None], nudge: Callable[[], None]
    ) -> None:
        """`nudge` is called when it is time to look, before the next regular one."""
        self.path = path
        self.root = ""
        """The path as events have it, without symbolic links."""
        self.lost = False
        """Something may have changed unseen: everything is to be listed. Whoever does takes it back."""
        self._pace, self._on_event, self._nudge = pace, on_event, nudge
        self._observer: TreeObserver | None = None
        self._identity: tuple[int, int] | None = None
        self._absent = ""
        self._cannot = ""
        self._retry_at = 0.0
        self._overflow_until = 0.0
        self._lock = threading.Lock()
        self._refused: dict[str, int] = {}  # path: errno
        self._overflowed = False

    @property
    def is_there(self) -> bool:
        """The folder can be listed, whether it can be watched or not."""
        return self._observer is not None or bool(self._cannot)

    @property
    def sees_all(self) -> bool:
        return not self._cannot and not self._refused

    def look(self, now: float) -> None:
        """See to it that the folder is watched, as far as the system lets us."""
        with self._lock:
            overflowed, self._overflowed = self._overflowed, False
        if overflowed:
            self._overflow_until = now + self._pace.overflow_s
            self.lost = True
        self._absent = self._what_is_wrong()
        if self._absent:
            self.stop()
            self._retry_at = 0.0
        elif self._cannot:
            if now >= self._retry_at:
                self._begin(now)
        elif self._is_broken() or (self._refused and now >= self._retry_at):
            self._begin(now)

    def retry_now_if_refused(self, paths: Iterable[str]) -> None:
        """The permissions of these changed."""
        with self._lock:
            concerned = not self._refused.keys().isdisjoint(paths)
        if concerned:
            self._retry_at = 0.0
            self._nudge()

    def stop(self) -> None:
        observer, self._observer, self._cannot = self._observer, None, ""
        if observer is not None:
            observer.stop()
            observer.join()

    def trouble(self, now: float) -> str:
        """The sentence for what does not work right now, or ''."""
        if self._absent:
            return f"{self._absent}; what is there is noticed when it is back"
        instead = f"it is listed every {self._pace.poll_s:g} s instead"
        if self._cannot:
            return f"changes in {self.path} are not noticed at once, {self._cannot}; {instead}"
        with self._lock:
            refused = dict(self._refused)
        if refused:
            path, number = next(iter(refused.items()))
            what = path if len(refused) == 1 else f"{len(refused)} folders, {path} among them,"
            return f"changes in {what} are not noticed at once, {_why(number)}; {instead}"
        if now < self._overflow_until:
            return f"more changed in {self.path} than the system could tell; it was listed anew"
        return ""

    def _what_is_wrong(self) -> str:
        try:
            mode = self.path.stat().st_mode
        except OSError as error:
            return f"the folder {self.path} cannot be reached ({error.strerror})"
        return "" if stat.S_ISDIR(mode) else f"{self.path} is not a folder"

    def _is_broken(self) -> bool:
        return self._observer is None or not self._observer.healthy or self._identity != _identity(self.path)

    def _begin(self, now: float) -> None:
        """Watch anew. What changed while nobody watched, only a listing finds."""
        self.stop()
        self._retry_at = now + self._pace.retry_s
        with self._lock:
            self._refused.clear()
        self._identity = _identity(self.path)
        self.root = str(self.path.resolve())
        try:
            observer = TreeObserver(self.root, self._on_event, self._on_refused, self._on_overflow)
            try:
                observer.start()
            except BaseException:
                observer.on_thread_stop()
                raise
            self._observer = observer
        except (OSError, RuntimeError) as error:  # RuntimeError: no more threads
            self._cannot = _why(getattr(error, "errno", None) or 0, str(error))
            log.warning("watch.refused path=%s error=%s", self.path, error)
        self.lost = True

    def _on_refused(self, path: str, error: OSError) -> None:
        with self._lock:
            self._refused[path] = error.errno or 0
        self._nudge()

    def _on_overflow(self) -> None:
        with self._lock:
            self._overflowed = True
        self._nudge()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _why(number: int, otherwise: str = "") -> str:
    match number:
        case errno.ENOSPC:
            return "as the system allows no more watches (raise fs.inotify.max_user_watches)"
        case errno.EMFILE:
            return (
                "as the system allows no more watchers"
                " (raise fs.inotify.max_user_instances, or the limit of open files)"
            )
        case errno.EACCES | errno.EPERM:
            return "as reading it is not permitted"
    return f"as watching it failed ({otherwise or os.strerror(number)})"
