"""What the end of a program means: an exit status (see sysexits.h) or a signal."""

from __future__ import annotations

import signal

from farm.connector import ConnectorError, InvalidInput, Permanent, SourceUnavailable, Transient


def ending(status: int, step: str = "stream") -> tuple[type[ConnectorError], str]:
    """What a program's exit status other than 0 means: an error class and words for it (see sysexits.h).

    >>> ending(75)[0].__name__, ending(-9)
    ('Transient', (<class 'farm.connector.Transient'>, 'was killed by SIGKILL'))
    """
    if status < 0:
        return Transient, f"was killed by {_signal_name(-status)}"
    if status > 128 and status - 128 in list(signal.Signals):  # a shell says so of its child
        return Transient, f"exited with status {status} (killed by {_signal_name(status - 128)})"
    error: type[ConnectorError] = Transient
    match status:
        case 65:
            error = InvalidInput
        case 66 if step == "extract":
            error = InvalidInput
        case 64 | 66 | 77 | 78 | 126 | 127:
            error = Permanent
        case 69:
            error = SourceUnavailable
    meaning = _MEANINGS.get(status)
    return error, f"exited with status {status}" + (f" ({meaning})" if meaning else "")


_MEANINGS = {
    64: "used wrongly",
    65: "bad input",
    66: "no input",
    69: "service unavailable",
    75: "temporary failure",
    77: "permission denied",
    78: "wrong configuration",
    126: "cannot be executed",
    127: "program not found",
}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
