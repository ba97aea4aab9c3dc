"""watchdog's inotify observer, with what it keeps to itself: refused watches and lost events.

watchdog 7 adds a watch for each folder of a tree. A folder that the system refuses is passed over in silence,
and so is a full event queue but for a line in the log. Both pass through two public methods of InotifyFD,
which are overridden here; the rest is watchdog's.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import warnings
from collections.abc import Callable

from watchdog.events import (
    DirAttribEvent,
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileAttribEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import DEFAULT_OBSERVER_TIMEOUT, BaseObserver
from watchdog.observers.inotify import InotifyFullEmitter
from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchCallback,
    WatchDescriptor,
)

log = logging.getLogger("farm.watch")

# A folder that is moved away and back has its old watch still: to ask for it again is no mistake.
warnings.filterwarnings("ignore", message="Callback with id .* already exists", category=RuntimeWarning)

TELLING: list[type[FileSystemEvent]] = [
    DirAttribEvent,
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileAttribEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
]
"""All that can change content; not that a file was opened or read, or each extraction would ask for the next."""


class Inotify(InotifyFD):
    def __init__(self, refused: Callable[[str, OSError], None], overflowed: Callable[[], None]) -> None:
        """Raises OSError when the system has no inotify instance left."""
        self._refused, self._overflowed = refused, overflowed
        try:
            super().__init__()
        except OSError:
            with contextlib.suppress(AttributeError, OSError):
                os.close(self._inotify_fd)
            raise

    def add_callback(
        self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId
    ) -> WatchDescriptor:
        try:
            # watchdog takes a missing permission for success, and files it under descriptor -1.
            if not os.access(path, os.R_OK) and os.path.lexists(path):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return super().add_callback(path, mask, callback, id_)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):  # those just went away
                self._refused(os.fsdecode(path), error)
            raise

    def handle_event(self, event: InotifyEvent) -> None:
        super().handle_event(event)  # rebuilds its watches after an overflow
        if event.is_queue_overflow:
            self._overflowed()


class TreeObserver(BaseObserver):
    """Watches one folder and all below it. Start it, stop it; `healthy` says whether all its threads live."""

    def __init__(
        self,
        root: str,
        on_event: Callable[[FileSystemEvent], None],
        on_refused: Callable[[str, OSError], None],
        on_overflow: Callable[[], None],
    ) -> None:
        """`root` without symbolic links. The callbacks come from several threads and must not raise."""
        self._inotify = Inotify(on_refused, on_overflow)
        super().__init__(InotifyFullEmitter, timeout=DEFAULT_OBSERVER_TIMEOUT, inotify_fd=self._inotify)
        self.schedule(_Handler(on_event), root, recursive=True, event_filter=TELLING)

    def on_thread_start(self) -> None:
        self._inotify.start()
        super().on_thread_start()

    def on_thread_stop(self) -> None:
        super().on_thread_stop()
        self._inotify.stop()
        if self._inotify.ident is not None:
            self._inotify.join()

    @property
    def healthy(self) -> bool:
        threads = [self, self._inotify, *self.emitters]
        return all(thread.is_alive() for thread in threads)


class _Handler(FileSystemEventHandler):
    """Passes events on. What it raised would kill watchdog's thread without a word."""

    def __init__(self, on_event: Callable[[FileSystemEvent], None]) -> None:
        self._on_event = on_event

    def dispatch(self, event: FileSystemEvent) -> None:
        try:
            self._on_event(event)
        except Exception:
            log.exception("watch.event_failed event=%s", type(event).__name__)
