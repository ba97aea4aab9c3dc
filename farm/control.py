"""How the command line speaks to a running farm: a Unix socket in the state folder, one JSON object a line.

    {"op": "run", "args": {"source": "notes"}, "actor": "ada"}
    {"ok": true, "result": {"run_id": 7, "coalesced": false}}
    {"ok": false, "error": "there is no source 'nots'; did you mean notes?", "code": 1}

The socket's mode is 0600 from its first moment. A socket's path may be 107 bytes long; a longer one is
reached through /proc/self/fd. Whoever holds the state folder's lock owns the socket: one left by a dead farm
is replaced.
Importing this module is cheap: `farm status` does it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from farm import shortage
from farm.errors import FarmError, FarmNotRunning, FarmRunning

SOCKET = "farm.sock"
MAX_REQUEST_BYTES = 16 * 1024 * 1024
MAX_CLIENTS = 64
IDLE_S = 60.0
_LONGEST_PATH = 107

Handle = Callable[[str, dict[str, Any], str], object]
"""(op, args, actor) -> a result that JSON can hold; raises FarmError for what the asker should read."""


class Server:
    """Answers requests on `home/farm.sock`, each client in a thread of its own, until closed.

    `handle` is called from those threads, several at a time. `failed` hears of exceptions that are not
    FarmError.
    """

    def __init__(
        self, home: Path, handle: Handle, failed: Callable[[str, Exception], None] | None = None
    ) -> None:
        self._home = home
        self._handle = handle
        self._failed = failed or (lambda op, error: None)
        self._closing = threading.Event()
        self._room = threading.BoundedSemaphore(MAX_CLIENTS)
        self._clients: dict[threading.Thread, socket.socket] = {}
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._inode = 0

    def start(self) -> None:
        """Bind and serve. Raises FarmRunning when another server answers there."""
        if answers(self._home):
            raise FarmRunning(home=self._home)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with contextlib.suppress(FileNotFoundError):
                (self._home / SOCKET).unlink()
            os.fchmod(listener.fileno(), 0o600)  # before bind, so that it is never open to others
            with _address(self._home) as address:
                listener.bind(address)
            listener.listen(MAX_CLIENTS)
            self._inode = (self._home / SOCKET).stat().st_ino
        except BaseException:
            listener.close()
            raise
        self._listener = listener
        self._thread = shortage.Thread(self._accept, (listener,), name="control")
        self._thread.start()

    def close(self, timeout_s: float = 2.0) -> None:
        """Take the socket away; answers under way are still given, within the timeout."""
        if self._listener is None:
            return
        self._closing.set()
        with contextlib.suppress(FileNotFoundError):
            if (self._home / SOCKET).stat().st_ino == self._inode:
                (self._home / SOCKET).unlink()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._listener.close()
        if self._thread is not None:
            self._thread.join(timeout_s)
        with self._lock:
            clients = dict(self._clients)
        for client in clients.values():
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RD)  # idle ones leave, busy ones finish their answer
        for thread in clients:
            if thread is not threading.current_thread():
                thread.join(timeout_s)

    def _accept(self, listener: socket.socket) -> None:
        while not self._closing.is_set():
            self._room.acquire()
            try:
                client, _ = listener.accept()
            except OSError:  # closed, or out of file descriptors for a moment
                self._room.release()
                self._closing.wait(0.05)
                continue
            client.settimeout(IDLE_S)
            thread = shortage.Thread(self._serve, (client,), name="control client")
            with self._lock:
                self._clients[thread] = client
            try:
                thread.start()
            except (
                RuntimeError
            ):  # no thread can be had for a moment: the client is turned away, the next may be luckier
                with self._lock:
                    del self._clients[thread]
                client.close()
                self._room.release()
                self._closing.wait(0.05)

    def _serve(self, client: socket.socket) -> None:
        try:
            with client, client.makefile("rb") as requests:
                while raw := requests.readline(MAX_REQUEST_BYTES + 1):
                    fits = len(raw) <= MAX_REQUEST_BYTES
                    answer = self._answer(raw) if fits else _refusal("the request is larger than 16 MiB")
                    client.sendall(json.dumps(answer).encode() + b"\n")
                    if not fits:
                        return
        except OSError:
            pass  # the client went away or idled: nobody is there to be told
        finally:
            with self._lock:
                self._clients.pop(threading.current_thread(), None)
            self._room.release()

    def _answer(self, raw: bytes) -> dict[str, Any]:
        try:
            request = json.loads(raw)
            op, args, actor = request["op"], request.get("args", {}), request.get("actor", "")
            if not (isinstance(op, str) and isinstance(args, dict) and isinstance(actor, str)):
                raise TypeError
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return _refusal("not a request: a line of JSON with op, args and actor is")
        try:
            result = self._handle(op, args, actor)
            json.dumps(result)  # a result that JSON cannot hold is our fault, found here
        except FarmError as error:
            return _refusal(str(error), error.exit_code)
        except Exception as error:  # noqa: BLE001  # the asker gets an answer, the farm goes on
            shortage.end_if_memory(error)
            self._failed(op, error)
            return _refusal(
                f"the farm could not do this ({type(error).__name__}: {error}); its log says more"
            )
        return {"ok": True, "result": result}


def call(home: Path, op: str, *, actor: str = "", timeout_s: float = 30.0, **args: Any) -> Any:
    """Ask the farm that runs on `home`. Raises FarmNotRunning, or FarmError with the farm's refusal."""
    request = json.dumps({"op": op, "args": args, "actor": actor or user()}).encode() + b"\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(timeout_s)
        try:
            with _address(home) as address:
                client.connect(address)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            raise FarmNotRunning(home) from None
        except PermissionError:
            raise FarmError(f"the farm on {home} belongs to another user") from None
        try:
            with contextlib.suppress(BrokenPipeError):  # refused half-way: the answer says why
                client.sendall(request)
            with client.makefile("rb") as answers:
                raw = answers.readline()
        except TimeoutError:
            raise FarmError(f"the farm on {home} did not answer within {timeout_s:g} s") from None
        except ConnectionError:
            raw = b""
    if not raw.endswith(b"\n"):
        raise FarmError(f"the farm on {home} ended before it answered")
    answer = json.loads(raw)
    if not answer["ok"]:
        refused = FarmError(answer["error"])
        refused.exit_code = answer.get("code", 1)
        raise refused
    return answer["result"]


def answers(home: Path) -> bool:
    """Whether somebody listens on the socket of this state folder."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        try:
            with _address(home) as address:
                client.connect(address)
        except TimeoutError:
            return True  # its backlog is full: busy, but there
        except OSError:
            return False
    return True


def user() -> str:
    """Who asks: the login name, or the number of the user."""
    name = os.environ.get("LOGNAME") or os.environ.get("USER")
    if name:
        return name
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _refusal(error: str, code: int = 1) -> dict[str, Any]:
    return {"ok": False, "error": error, "code": code}


@contextlib.contextmanager
def _address(home: Path) -> Iterator[str]:
    """The socket's path, shortened where the kernel asks for it."""
    path = home.absolute() / SOCKET
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        yield str(path)
        return
    folder = os.open(home, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{SOCKET}"
    finally:
        os.close(folder)
