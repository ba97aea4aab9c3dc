"""No memory: the farm ends at once, with a sentence.

A step that was left half-way by a MemoryError is in doubt, and a thread that finds no memory to begin with
leaves whoever started it waiting for ever, with the locks he holds. What was acknowledged is in the ledger, so
an end at any point loses nothing: the guard sweeps the workers, and the next start goes on. A library in C that
finds no memory may end the process by a signal before that; then the sentence is missing, and nothing else.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn

EXIT_CODE = 1
BEGIN_S = 20.0
"""A thread that has not begun by then never will; as the monotonic clock counts, which stands still in a suspend."""
NO_MEMORY = (
    "there is no memory left for the farm itself (a limit of its service or shell, or a full machine):"
    " it has ended, nothing is lost; start it again"
)


_SAID = b"Error: " + NO_MEMORY.encode() + b"\n"


class Thread(threading.Thread):
    """A thread that ends the farm when it cannot begin, instead of being waited for."""

    def __init__(
        self,
        target: Callable[..., object],
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
        *,
        name: str,
    ) -> None:
        super().__init__(target=target, args=args, kwargs=kwargs, name=name, daemon=True)
        self._started: threading.Event = _Begun()


class _Begun(threading.Event):
    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(BEGIN_S if timeout is None else timeout) or end()


def end(why: str = "") -> NoReturn:
    """Say so and end, taking no step that could fail or wait; without a reason, the one that needs no memory."""
    try:
        os.write(2, b"Error: " + why.encode() + b"\n" if why else _SAID)
    finally:
        os._exit(EXIT_CODE)


def end_if_memory(error: BaseException) -> None:
    """Where every exception is caught: this one is not for going on from."""
    if isinstance(error, MemoryError):
        end()


def watch() -> Callable[[], None]:
    """From now on a MemoryError that no thread has caught ends the process; returns what undoes that."""
    before = threading.excepthook, sys.unraisablehook, sys.excepthook
    bootstrap = threading.Thread._bootstrap  # type: ignore[attr-defined]

    def died(args: Any) -> None:
        if issubclass(args.exc_type, MemoryError):
            end()
        before[0](args)

    def unraisable(args: Any) -> None:
        if issubclass(args.exc_type, MemoryError):
            end()
        before[1](args)

    def uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, MemoryError):
            end()
        before[2](kind, error, trace)

    def live(thread: threading.Thread) -> None:
        """Around all that a thread does: it may find no memory for its first step, nor for any of these hooks."""
        try:
            bootstrap(thread)
        except BaseException as error:
            cause: BaseException | None = error
            while cause is not None:  # what tidies up after it may have failed in turn
                end_if_memory(cause)
                cause = cause.__context__
            raise

    def undo() -> None:
        threading.excepthook, sys.unraisablehook, sys.excepthook = before
        threading.Thread._bootstrap = bootstrap  # type: ignore[attr-defined]

    threading.excepthook, sys.unraisablehook, sys.excepthook = died, unraisable, uncaught
    threading.Thread._bootstrap = live  # type: ignore[attr-defined]
    return undo
