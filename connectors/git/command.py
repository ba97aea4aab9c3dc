"""Runs git so that nothing of a repository, and nothing of the user's settings, decides what it does.

No hook, filter, alias, credential helper, submodule or include is ever followed: git reads one configuration,
ours. A credential goes by the environment to a script that gives it to the host it is meant for, and no other.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from connectors.git.address import Repository
from farm.connector import MissingDependency

LOOK_S = 0.25
"""How often a running git is looked at: is it to stop, and does anybody want to know that it lives."""

_CONFIG = """\
[core]
\thooksPath = /dev/null
\tattributesFile = /dev/null
\texcludesFile = /dev/null
\tfsmonitor = false
\taskPass =
[credential]
\thelper =
[fetch]
\trecurseSubmodules = no
\twriteCommitGraph = false
[gc]
\tauto = 0
[maintenance]
\tauto = false
[submodule]
\trecurse = false
[protocol]
\tversion = 2
[pack]
\tthreads = 1
[index]
\tthreads = 1
[http]
\tlowSpeedLimit = 100
\tlowSpeedTime = 30
\tuserAgent = git/farm
"""

_ASKPASS = """\
#!/bin/sh
case "$1" in
Username*[/@]"$FARM_GIT_HOST'"*) printf '%s\\n' "$FARM_GIT_USER" ;;
Password*[/@]"$FARM_GIT_HOST'"*) printf '%s\\n' "$FARM_GIT_PASSWORD" ;;
*) exit 1 ;;
esac
"""


class GitFailed(Exception):
    """git ended with an error; `said` is what it printed about it."""

    def __init__(self, verb: str, code: int, said: str) -> None:
        super().__init__(f"git {verb} ended with {code}: {said}")
        self.said = said


class Stopped(Exception):
    """The job was asked to stop while git ran."""


@dataclass(frozen=True)
class Credential:
    """For one host, and told to no other."""

    host: str
    user: str
    password: str

    def __repr__(self) -> str:
        return f"Credential({self.host!r})"


class Git:
    """git on one bare repository of ours, in `folder`; what it needs beside that lies in `scratch`."""

    def __init__(
        self,
        folder: Path,
        scratch: Path,
        remote: Repository,
        *,
        credential: Callable[[], Credential | None] = lambda: None,
        stop: Callable[[], bool] = lambda: False,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder = folder
        self._scratch = scratch
        self._remote = remote
        self._credential = credential
        self._stop = stop
        self._alive = alive
        self._settled: dict[str, str] | None = None

    def run(self, *words: str, given: bytes = b"", index: Path | None = None, network: bool = False) -> bytes:
        """What git prints. Raises GitFailed, or Stopped where the job is to end."""
        with tempfile.TemporaryFile() as file:
            # By file: communicate() forgets the rest of its input when it is asked again after a timeout.
            file.write(given)
            file.seek(0)
            process = self._start(words, stdin=file, index=index, network=network)
        try:
            out, err = self._converse(process)
        finally:
            _end(process)
        if process.returncode:
            raise GitFailed(words[0], process.returncode, _last(err))
        return out

    def blob(self, oid: str, max_bytes: int) -> tuple[int, bytes] | None:
        """Size and content of a blob; no content where it is larger than this. None: it is not here."""
        process = self._start(("cat-file", "--batch"), stdin=subprocess.PIPE)
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(oid.encode() + b"\n")
            process.stdin.close()
            head = process.stdout.readline().split()
            if len(head) != 3 or head[1] != b"blob":
                return None
            size = int(head[2])
            if size > max_bytes:
                return size, b""
            data = process.stdout.read(size)
            return (size, data) if len(data) == size else None
        finally:
            _end(process)

    def _start(
        self,
        words: tuple[str, ...],
        *,
        stdin: IO[bytes] | int,
        index: Path | None = None,
        network: bool = False,
    ) -> subprocess.Popen[bytes]:
        environment = {**self._environment(), **(self._for_the_host() if network else {})}
        if index is not None:
            environment["GIT_INDEX_FILE"] = str(index)
        try:
            return subprocess.Popen(
                ["git", *words],
                env=environment,
                cwd=self._scratch,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,
            )
        except FileNotFoundError:
            raise MissingDependency("git is not installed: `apt install git`, or your system's way") from None

    def _converse(self, process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
        while True:
            try:
                return process.communicate(timeout=LOOK_S)
            except subprocess.TimeoutExpired:
                self._alive()
                if self._stop():
                    raise Stopped from None

    def _environment(self) -> dict[str, str]:
        if self._settled is None:
            self._scratch.mkdir(parents=True, exist_ok=True)
            config = self._scratch / "gitconfig"
            config.write_text(_CONFIG + self._trust())
            kept = {
                name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "SSH_AS"))
            }
            self._settled = kept | {
                "GIT_DIR": str(self.folder),
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_GLOBAL": str(config),
                "GIT_ATTR_NOSYSTEM": "1",
                "GIT_TERMINAL_PROMPT": "0",
                "GIT_ASKPASS": "false",
                "GIT_ALLOW_PROTOCOL": self._remote.protocol,
                "GIT_PROTOCOL_FROM_USER": "0",
                "GIT_NO_REPLACE_OBJECTS": "1",
                "GIT_NO_LAZY_FETCH": "1",
                "GIT_OPTIONAL_LOCKS": "0",
                "GIT_LFS_SKIP_SMUDGE": "1",
                "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=20",
                "LC_ALL": "C",
            }
        return self._settled

    def _trust(self) -> str:
        """A folder of somebody else's may be read: nothing in it is run."""
        folder = self._remote.folder
        if folder is None:
            return ""
        names = [str(path).replace("\\", "\\\\").replace('"', '\\"') for path in (folder, folder / ".git")]
        return "[safe]\n" + "".join(f'\tdirectory = "{name}"\n' for name in names)

    def _for_the_host(self) -> dict[str, str]:
        credential = self._credential()
        if credential is None:
            return {}
        script = self._scratch / "askpass"
        if not script.exists():
            script.write_text(_ASKPASS)
            script.chmod(0o700)
        return {
            "GIT_ASKPASS": str(script),
            "FARM_GIT_HOST": credential.host,
            "FARM_GIT_USER": credential.user,
            "FARM_GIT_PASSWORD": credential.password,
        }


def _end(process: subprocess.Popen[bytes]) -> None:
    """It, and the helpers it started."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    process.wait()


def _last(said: bytes) -> str:
    lines = [line for line in said[-8000:].decode("utf-8", "replace").splitlines() if line.strip()]
    return " / ".join(lines[-4:])[-600:]
