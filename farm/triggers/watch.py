"""Fires when files of a watched folder change.

Rules:
- Events are hints, a listing is the truth. Everything is listed when watching begins, when it begins anew,
  when events may have been lost, and every `rescan_s` in any case.
- A path fires once it was left alone for QUIET_S, and at the latest after MAX_WAIT_S.
- What the system refuses to watch is said (`degraded`) and listed every POLL_S instead.
- Nothing is ignored here; the connector's `key_of` knows what is its own.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from watchdog.events import DirAttribEvent, DirMovedEvent, FileSystemEvent

from farm.core.debounce import Debounce
from farm.triggers.inotify import TreeObserver

QUIET_S = 0.3
MAX_WAIT_S = 2.0
LOOK_S = 1.0
"""How often the folder itself is looked at: is it still there, and still the same one?"""
PAUSE_S = 0.25
"""Between two fires, so that a burst of files makes few runs."""
POLL_S = 60.0
RETRY_S = 300.0
"""After which a refused watch is asked for again."""
OVERFLOW_S = 60.0
"""How long lost events are told of."""
NEVER = float("inf")
MANY = 4096
"""More changed keys than this are cheaper found by a listing."""

Fire = Callable[[str, "list[str] | None"], None]
"""source, keys that changed; None: list everything. Must not block."""

log = logging.getLogger("farm.watch")


@dataclass(frozen=True, slots=True)
class Pace:
    """The times of a Watch, in seconds."""

    quiet_s: float = QUIET_S
    max_wait_s: float = MAX_WAIT_S
    look_s: float = LOOK_S
    poll_s: float = POLL_S
    retry_s: float = RETRY_S
    overflow_s: float = OVERFLOW_S


class Watch:
    def __init__(
        self,
        source: str,
        path: Path,
        key_of: Callable[[Path], str | None],
        fire: Fire,
        degraded: Callable[[str, str], None],
        *,
        rescan_s: float | None = 900.0,
        pace: Pace | None = None,
    ) -> None:
        """`key_of`: the key of a path below `path`, None for what is not the source's, "" for everything.

        `degraded(source, sentence)` is told each change, with "" once all is well again.
        """
        self._source, self._path, self._key_of = source, path, key_of
        self._fire, self._degraded = fire, degraded
        self._rescan_s, self._pace = rescan_s, pace or Pace()
        self._wake = threading.Condition()
        # Guarded by _wake: what watchdog's threads tell us.
        self._debounce: Debounce[str] = Debounce(self._pace.quiet_s, self._pace.max_wait_s)
        self._refused: dict[str, int] = {}  # path: errno
        self._arrived: list[str] = []  # folders moved in, to be walked
        self._must_list = False
        self._overflowed = False
        self._look_now = False
        self._closing = False
        # Of our own thread.
        self._observer: TreeObserver | None = None
        self._root = ""
        self._identity: tuple[int, int] | None = None
        self._look_at = self._fire_at = self._retry_at = 0.0
        self._listed_at = -NEVER
        self._overflow_until = 0.0
        self._unstable: dict[str, float] = {}
        self._said: str | None = (
            None  # told once in any case: an earlier farm may have left a sentence behind
        )
        self._cannot = ""
        self._thread = threading.Thread(target=self._run, name=f"watch {source}", daemon=True)

    def start(self) -> None:
        """Returns at once; the first listing is asked for when the watch stands."""
        self._thread.start()

    def close(self) -> None:
        """No fire begins after this returns."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while not self._closing:
            try:
                now = time.monotonic()
                self._look(now)
                self._list(now)
                self._fire_due(now)
            except Exception as error:
                log.exception("watch.failed source=%s", self._source)
                self._stop_observer()
                self._say(f"watching {self._path} failed ({error}); it is tried again")
                self._look_at = time.monotonic() + self._pace.poll_s
            self._rest()
        self._stop_observer()

    def _rest(self) -> None:
        with self._wake:
            if self._closing or self._look_now:
                return
            due = self._fire_at if self._arrived else self._debounce.next_due()
            until = self._look_at if due is None else min(self._look_at, max(due, self._fire_at))
            self._wake.wait(max(0.0, until - time.monotonic()))

    # The watch itself.

    def _look(self, now: float) -> None:
        with self._wake:
            if now < self._look_at and not self._look_now:
                return
            self._look_now = False
            overflowed, self._overflowed = self._overflowed, False
        self._look_at = now + self._pace.look_s
        if overflowed:
            self._overflow_until = now + self._pace.overflow_s
            self._must_list = True
        absent = self._what_is_wrong_with_the_folder()
        if absent:
            self._stop_observer()
            self._say(f"{absent}; what is there is noticed when it is back")
            self._retry_at = 0.0
            return
        broken = (
            self._observer is None or not self._observer.healthy or self._identity != _identity(self._path)
        )
        refused = bool(self._refused) or bool(self._cannot)
        if (broken and not self._cannot) or (refused and now >= self._retry_at):
            self._begin(now)
        self._say(self._trouble(now))

    def _what_is_wrong_with_the_folder(self) -> str:
        try:
            mode = self._path.stat().st_mode
        except OSError as error:
            return f"the folder {self._path} cannot be reached ({error.strerror})"
        return "" if stat.S_ISDIR(mode) else f"{self._path} is not a folder"

    def _begin(self, now: float) -> None:
        """Watch anew, then list: what changed while nobody watched is found by the listing."""
        self._stop_observer()
        self._retry_at = now + self._pace.retry_s
        with self._wake:
            self._refused.clear()
        self._cannot = ""
        self._identity = _identity(self._path)
        self._root = str(self._path.resolve())
        try:
            observer = TreeObserver(self._root, self._on_event, self._on_refused, self._on_overflow)
            try:
                observer.start()
            except BaseException:
                observer.on_thread_stop()
                raise
            self._observer = observer
        except (OSError, RuntimeError) as error:  # RuntimeError: no more threads
            self._cannot = _why(getattr(error, "errno", None) or 0, str(error))
            log.warning("watch.refused source=%s error=%s", self._source, error)
        self._must_list = True

    def _stop_observer(self) -> None:
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            observer.join()

    def _trouble(self, now: float) -> str:
        """The sentence for what does not work right now, or ''."""
        instead = f"it is listed every {self._pace.poll_s:g} s instead"
        if self._cannot:
            return f"changes in {self._path} are not noticed at once, {self._cannot}; {instead}"
        with self._wake:
            refused = dict(self._refused)
        if refused:
            path, number = next(iter(refused.items()))
            what = path if len(refused) == 1 else f"{len(refused)} folders, {path} among them,"
            return f"changes in {what} are not noticed at once, {_why(number)}; {instead}"
        if now < self._overflow_until:
            return f"more changed in {self._path} than the system could tell; it was listed anew"
        return ""

    def _say(self, sentence: str) -> None:
        if sentence != self._said:
            self._said = sentence
            self._degraded(self._source, sentence)

    # What watchdog's threads tell.

    def _on_event(self, event: FileSystemEvent) -> None:
        paths = [os.fsdecode(path) for path in (event.src_path, event.dest_path) if path]
        with self._wake:
            if not event.is_directory:
                was_idle = self._debounce.next_due() is None
                for path in paths:
                    self._debounce.touch(path, time.monotonic())
                if was_idle:
                    self._wake.notify()
            elif isinstance(event, DirMovedEvent):
                # Moved within: watchdog tells of each file. Moved out: nobody tells. Moved in: look inside.
                if not event.dest_path:
                    self._must_list = self._look_now = True
                elif not event.src_path:
                    self._arrived.extend(paths)
                self._wake.notify()
            elif isinstance(event, DirAttribEvent) and self._refused.keys() & set(paths):
                self._retry_at, self._look_now = 0.0, True
                self._wake.notify()
            elif self._root in paths:
                self._look_now = True
                self._wake.notify()

    def _on_refused(self, path: str, error: OSError) -> None:
        with self._wake:
            self._refused[path] = error.errno or 0
            self._look_now = True
            self._wake.notify()

    def _on_overflow(self) -> None:
        with self._wake:
            self._overflowed = self._look_now = True
            self._wake.notify()

    # Firing.

    def _list(self, now: float) -> None:
        """Ask for a listing when one is due."""
        if self._observer is None and not self._cannot:
            return  # the folder is not there: a listing would take everything for deleted
        with self._wake:
            partly = bool(self._refused) or bool(self._cannot)
            every_s = min(self._pace.poll_s if partly else NEVER, self._rescan_s or NEVER)
            if now < self._listed_at + (self._pace.look_s if self._must_list else every_s):
                return
            self._must_list = False
        self._listed_at = now
        if not self._hand_over(None):
            self._must_list = True

    def _fire_due(self, now: float) -> None:
        """Hand over the keys of the paths that came to rest."""
        if now < self._fire_at:
            return
        with self._wake:
            arrived, self._arrived = self._arrived, []
            paths = self._debounce.due(now)
        for folder in arrived:
            paths.extend(_files_below(folder))
        paths = [path for path in paths if self._is_stable(path, now)]
        keys = self._keys(paths)
        if keys == []:
            return
        self._fire_at = now + PAUSE_S
        if not self._hand_over(keys):
            with self._wake:
                for path in paths:
                    self._debounce.touch(path, now)

    def _is_stable(self, path: str, now: float) -> bool:
        """Not written to just now; else it waits once more, for programs that write without events (mmap)."""
        try:
            age_s = time.time() - os.lstat(path).st_mtime
        except OSError:
            age_s = self._pace.quiet_s  # gone: that will not change by waiting
        if 0 <= age_s < self._pace.quiet_s and now < self._unstable.setdefault(
            path, now + self._pace.max_wait_s
        ):
            with self._wake:
                self._debounce.touch(path, now)
            return False
        self._unstable.pop(path, None)
        return True

    def _keys(self, paths: list[str]) -> list[str] | None:
        """Each key once; None when a listing is the better way."""
        keys: dict[str, None] = {}
        for path in paths:
            try:
                key = self._key_of(self._path / os.path.relpath(path, self._root))
            except Exception:
                log.exception("watch.key_failed source=%s", self._source)
                return None
            if key == "":
                return None
            if key is not None:
                keys[key] = None
        return list(keys) if len(keys) <= MANY else None

    def _hand_over(self, keys: list[str] | None) -> bool:
        try:
            self._fire(self._source, keys)
        except Exception:
            log.exception("watch.fire_failed source=%s", self._source)
            return False
        return True


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _files_below(folder: str) -> list[str]:
    return [f"{root}/{name}" for root, _, names in os.walk(folder) for name in names]


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
