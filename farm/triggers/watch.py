"""Fires when files of a watched folder change.

Rules:
- Events are hints, a listing is the truth. Everything is listed when watching begins, when it begins anew,
  when events may have been lost, and every `rescan_s` in any case.
- A path fires once it was left alone for `quiet_s`, and at the latest after `max_wait_s`.
- What the system refuses to watch is said (`degraded`) and listed every `poll_s` instead.
- Nothing is ignored here; the connector's `key_of` knows what is its own.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from watchdog.events import DirAttribEvent, DirMovedEvent, FileSystemEvent

from farm import shortage
from farm.core.debounce import Debounce
from farm.errors import FarmError
from farm.triggers.tree import Pace, Tree

__all__ = ["Fire", "Pace", "Watch"]

MANY = 4096
"""More changed keys than this are cheaper found by a listing."""
NEVER = float("inf")
CLOSE_S = 5.0

Fire = Callable[[str, "list[str] | None"], None]
"""source, keys that changed; None: list everything. What raises is handed over again."""

log = logging.getLogger("farm.watch")


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

        `degraded(source, sentence)` is told at the beginning and at each change, with "" when all is well.
        """
        self._source, self._key_of = source, key_of
        self._fire, self._degraded = fire, degraded
        self._rescan_s, self._pace = rescan_s or NEVER, pace or Pace()
        self._tree = Tree(path, self._pace, self._on_event, self._nudge)
        self._wake = threading.Condition()
        # Guarded by _wake: what watchdog's threads tell us.
        self._debounce: Debounce[str] = Debounce(self._pace.quiet_s, self._pace.max_wait_s)
        self._arrived: list[str] = []  # folders moved in, to be walked
        self._look_now = False
        self._closing = False
        # Of our own thread.
        self._look_at = self._fire_at = 0.0
        self._listed_at = -NEVER
        self._unstable: dict[str, float] = {}
        self._said: str | None = None  # told once in any case: an earlier farm may have left a sentence
        self._thread = shortage.Thread(self._run, name=f"watch {source}")

    def start(self) -> None:
        """Returns at once; the first listing is asked for when the watch stands."""
        self._thread.start()

    def close(self) -> None:
        """No fire begins after this returns."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(CLOSE_S)  # no longer: whoever takes a fire may be closing as well

    def _run(self) -> None:
        while not self._closing:
            try:
                now = time.monotonic()
                self._look(now)
                self._list(now)
                self._fire_due(now)
            except Exception as error:
                log.exception("watch.failed source=%s", self._source)
                self._tree.stop()
                self._say(f"watching {self._tree.path} failed ({error}); it is tried again")
                self._look_at = time.monotonic() + self._pace.poll_s
            self._rest()
        self._tree.stop()

    def _rest(self) -> None:
        """Until there is something to do."""
        with self._wake:
            if self._closing or self._look_now:
                return
            due = self._fire_at if self._arrived else self._debounce.next_due()
            until = self._look_at if due is None else min(self._look_at, max(due, self._fire_at))
            self._wake.wait(max(0.0, until - time.monotonic()))

    def _look(self, now: float) -> None:
        with self._wake:
            if now < self._look_at and not self._look_now:
                return
            self._look_now = False
        self._look_at = now + self._pace.look_s
        self._tree.look(now)
        self._say(self._tree.trouble(now))

    def _say(self, sentence: str) -> None:
        if sentence != self._said:
            self._degraded(self._source, sentence)
            self._said = sentence

    # What watchdog's threads tell.

    def _nudge(self) -> None:
        with self._wake:
            self._look_now = True
            self._wake.notify()

    def _on_event(self, event: FileSystemEvent) -> None:
        paths = [os.fsdecode(path) for path in (event.src_path, event.dest_path) if path]
        if not event.is_directory:
            self._touch(paths)
        elif isinstance(event, DirMovedEvent):
            # Moved within: watchdog tells of each file. Moved out: nobody does. Moved in: look inside.
            if not event.dest_path:
                self._tree.lost = True
                self._nudge()
            elif not event.src_path:
                with self._wake:
                    self._arrived.extend(paths)
                    self._wake.notify()
        elif isinstance(event, DirAttribEvent):
            self._tree.retry_now_if_refused(paths)
        elif self._tree.root in paths:
            self._nudge()

    def _touch(self, paths: list[str]) -> None:
        now = time.monotonic()
        with self._wake:
            was_idle = not len(self._debounce)
            for path in paths:
                self._debounce.touch(path, now)
            if was_idle:
                self._wake.notify()

    # Firing.

    def _list(self, now: float) -> None:
        """Ask for a listing when one is due."""
        if not self._tree.is_there:
            return  # a listing would take everything for deleted
        every_s = self._rescan_s if self._tree.sees_all else min(self._rescan_s, self._pace.poll_s)
        if now < self._listed_at + (self._pace.look_s if self._tree.lost else every_s):
            return
        self._tree.lost = False
        self._listed_at = now
        if not self._hand_over(None):
            self._tree.lost = True

    def _fire_due(self, now: float) -> None:
        """Hand over the keys of the paths that came to rest."""
        if now < self._fire_at:
            return
        with self._wake:
            arrived, self._arrived = self._arrived, []
            paths = self._debounce.due(now)
        paths.extend(path for folder in arrived for path in _files_below(folder))
        paths = [path for path in paths if self._is_stable(path, now)]
        keys = self._keys(paths)
        if keys == []:
            return
        self._fire_at = now + self._pace.pause_s
        if not self._hand_over(keys):
            self._touch(paths)

    def _is_stable(self, path: str, now: float) -> bool:
        """Not written to just now; else it waits once more, for programs that write without events (mmap)."""
        try:
            age_s = time.time() - os.lstat(path).st_mtime
        except OSError:
            age_s = NEVER  # gone: that will not change by waiting
        give_up_at = self._unstable.setdefault(path, now + self._pace.max_wait_s)
        if 0 <= age_s < self._pace.quiet_s and now < give_up_at:
            self._touch([path])
            return False
        del self._unstable[path]
        return True

    def _keys(self, paths: list[str]) -> list[str] | None:
        """Each key once; None when a listing is the better way."""
        keys: dict[str, None] = {}
        for path in paths:
            try:
                key = self._key_of(self._tree.path / os.path.relpath(path, self._tree.root))
            except Exception:
                log.exception("watch.key_failed source=%s", self._source)
                return None
            if key == "":
                return None
            if key is not None:
                keys[key] = None
        return list(keys) if len(keys) <= MANY else None

    def _hand_over(self, keys: list[str] | None) -> bool:
        if self._closing:
            return False
        try:
            self._fire(self._source, keys)
        except FarmError as error:
            log.warning("watch.fire_refused source=%s why=%s", self._source, error)
            return False
        except Exception:
            log.exception("watch.fire_failed source=%s", self._source)
            return False
        return True


def _files_below(folder: str) -> list[str]:
    return [f"{root}/{name}" for root, _, names in os.walk(folder) for name in names]
