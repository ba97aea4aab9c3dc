"""The farm's own copy of one repository: the newest commit of one branch, and the files that are wanted of it.

A bare repository in the source's cache folder. Fetched without history and, where the server can, without
files; those that are wanted come in one request of their own, once. It may vanish at any time: then it is
fetched again.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from connectors.git.address import Repository
from connectors.git.command import Credential, Git, GitFailed, Stopped
from farm.connector import ConnectorError, Permanent, RateLimited, SourceUnavailable, Transient

TIP = "refs/farm/tip"
LAZY = ("-c", "remote.origin.promisor=true", "-c", "remote.origin.partialclonefilter=blob:none")
"""Only told to fetch: whatever else git does, it never fetches a missing file on its own."""
BLOBS_AT_ONCE = 2_000
PACKS = 60
"""So many packs are brought together into one."""


@dataclass(frozen=True, slots=True)
class Head:
    """What the server says the branch is. No commit: the repository is empty."""

    branch: str
    commit: str


@dataclass(frozen=True, slots=True)
class File:
    path: str
    """As `os` gives it: surrogates for bytes that are not UTF-8."""
    oid: str


@dataclass(frozen=True, slots=True)
class Difference:
    """What became of the files between two commits."""

    now: frozenset[str]
    gone: frozenset[str]


class Mirror:
    def __init__(
        self,
        folder: Path,
        scratch: Path,
        remote: Repository,
        *,
        branch: str = "",
        credential: Callable[[], Credential | None] = lambda: None,
        turn: Callable[[], bool] = lambda: True,
        stop: Callable[[], bool] = lambda: False,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self.remote = remote
        self._folder = folder
        self._git = Git(folder / "git", scratch, remote, credential=credential, stop=stop, alive=alive)
        self._scratch = scratch
        self._branch = branch
        self._turn = turn
        self._stop = stop
        self._alive = alive

    def look(self) -> Head:
        """Ask the server, in one question. Raises a ConnectorError with a sentence."""
        self._refuse_no_folder()
        ref = f"refs/heads/{self._branch}" if self._branch else "HEAD"
        try:
            said = self._asked("ls-remote", "--symref", self.remote.url, ref).decode("utf-8", "replace")
        except GitFailed as error:
            raise self._told(error) from None
        branch, commit = self._branch, ""
        for line in said.splitlines():
            left, _, name = line.partition("\t")
            if name == ref and left.startswith("ref: "):
                branch = left.removeprefix("ref: refs/heads/")
            elif name == ref:
                commit = left
        if self._branch and not commit:
            raise Permanent(f"{self.remote.label} has no branch {self._branch!r}")
        return Head(branch or "HEAD", commit)

    def update(self, head: Head) -> str:
        """Have this commit here; the commit that is here now ("" where there is none)."""
        if not head.commit:
            return ""
        with self._locked():
            if not self._has(head.commit):
                self._prepare(head.commit)
                self._fetch_commit(head)
            else:
                self._git.run("update-ref", TIP, head.commit)
            return self._git.run("rev-parse", f"{TIP}^{{commit}}").decode().strip()

    def tree(self, commit: str) -> Iterator[File]:
        """The regular files of a commit; links and submodules are none."""
        for entry in self._git.run("ls-tree", "-r", "-z", "--full-tree", commit).split(b"\0"):
            about, _, path = entry.partition(b"\t")
            if about.startswith(b"100"):
                yield File(os.fsdecode(path), about.split()[2].decode())

    def difference(self, old: str, new: str) -> Difference | None:
        """What a move of the branch changed, whatever lies between the two; None where one is not here."""
        if not (self._has(old) and self._has(new)):
            return None
        raw = self._git.run("diff-tree", "-r", "-z", "--no-renames", "--name-status", old, new)
        words = [os.fsdecode(word) for word in raw.split(b"\0") if word]
        changes = list(zip(words[::2], words[1::2], strict=True))
        return Difference(
            frozenset(path for status, path in changes if status != "D"),
            frozenset(path for status, path in changes if status == "D"),
        )

    def attributes(
        self, commit: str, paths: Sequence[str], names: Sequence[str]
    ) -> dict[str, dict[str, str]]:
        """What .gitattributes files say of these paths; only what they do say."""
        index = self._scratch / "index"
        index.unlink(missing_ok=True)
        self._git.run("read-tree", commit, index=index)
        given = b"\0".join(os.fsencode(path) for path in paths) + b"\0"
        said = self._git.run("check-attr", "--cached", "-z", "--stdin", *names, given=given, index=index)
        index.unlink(missing_ok=True)
        words = said.split(b"\0")
        found: dict[str, dict[str, str]] = {}
        for path, name, value in zip(words[::3], words[1::3], words[2::3], strict=False):
            if value != b"unspecified":
                found.setdefault(os.fsdecode(path), {})[name.decode()] = value.decode("utf-8", "replace")
        return found

    def ensure(self, oids: Iterable[str]) -> int:
        """Have these files here; how many had to be fetched."""
        wanted = self._missing(oids)
        fetched = 0
        if wanted:
            with self._locked():
                wanted = self._missing(wanted)  # somebody else may have fetched them meanwhile
                for start in range(0, len(wanted), BLOBS_AT_ONCE):
                    fetched += self._fetch_blobs(wanted[start : start + BLOBS_AT_ONCE])
                    self._alive()
                self._tidy()
        return fetched

    def read(self, oid: str, max_bytes: int) -> tuple[int, bytes]:
        """Size and content of a file (none where it is larger); fetched if it is not here."""
        found = self._git.blob(oid, max_bytes) if (self._git.folder / "HEAD").exists() else None
        if found is None:
            with self._locked():
                self._prepare(oid)
            self.ensure([oid])
            found = self._git.blob(oid, max_bytes)
        if found is None:
            raise Transient(f"{self.remote.label} does not have this version of the file any more")
        return found

    # -- how

    def _has(self, oid: str) -> bool:
        if not (self._git.folder / "HEAD").exists():
            return False
        # The commit itself may be here because another one names it: what counts is that its files are known.
        try:
            self._git.run("rev-parse", "--quiet", "--verify", f"{oid}^{{tree}}")
        except GitFailed:
            return False
        return True

    def _missing(self, oids: Iterable[str]) -> list[str]:
        given = "\n".join(dict.fromkeys(oids)).encode()
        if not given:
            return []
        out = self._git.run("cat-file", "--batch-check=%(objectname)", given=given + b"\n")
        return [line.split()[0].decode() for line in out.splitlines() if line.endswith(b" missing")]

    def _prepare(self, oid: str) -> None:
        if (self._git.folder / "HEAD").exists():
            return
        shutil.rmtree(self._git.folder, ignore_errors=True)
        form = "sha256" if len(oid) == 64 else "sha1"
        self._git.run("init", "--quiet", "--bare", "--template=", f"--object-format={form}")

    def _fetch_commit(self, head: Head) -> None:
        ref = "HEAD" if head.branch == "HEAD" else f"refs/heads/{head.branch}"
        spec = f"+{ref}:{TIP}"
        try:
            self._fetch("--depth=1", "--filter=blob:none", "origin", spec)
        except GitFailed as error:
            if "dumb http" not in error.said and "shallow" not in error.said:
                raise self._told(error) from None
            self._fetch_plainly(spec)

    def _fetch_plainly(self, spec: str, *words: str) -> None:
        """All there is, from a server that can neither leave out files nor be asked for some."""
        try:
            self._asked(*self._to_remote(), "fetch", "--quiet", "--no-tags", *words, "origin", spec)
        except GitFailed as error:
            raise self._told(error) from None

    def _fetch_blobs(self, oids: Sequence[str]) -> int:
        given = "\n".join(oids).encode() + b"\n"
        try:
            self._fetch("--filter=blob:none", "--stdin", "origin", given=given)
        except GitFailed as error:
            if not re.search(r"unadvertised object|not our ref|dumb http", error.said):
                raise self._told(error) from None
            if "not our ref" in error.said:
                raise Transient(f"{self.remote.label} does not have these files any more") from None
            self._fetch_plainly(f"+HEAD:{TIP}", "--refetch")
        return len(oids)

    def _fetch(self, *words: str, given: bytes = b"") -> None:
        fixed = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-gc", "--recurse-submodules=no")
        lazily = (*LAZY, *(("-c", "fetch.negotiationAlgorithm=noop") if given else ()))
        self._asked(*self._to_remote(), *lazily, "fetch", *fixed, *words, given=given)

    def _to_remote(self) -> tuple[str, str]:
        return "-c", f"remote.origin.url={self.remote.url}"

    def _asked(self, *words: str, given: bytes = b"") -> bytes:
        if not self._turn():
            raise Stopped
        return self._git.run(*words, given=given, network=True)

    def _clear(self) -> None:
        """What a git that was killed left behind: we hold the only right to change anything here."""
        folder = self._git.folder
        halves = (folder / "objects" / "pack").glob("tmp_*")
        for left in (*folder.glob("*.lock"), *(folder / "refs").rglob("*.lock"), *halves):
            left.unlink(missing_ok=True)

    def _tidy(self) -> None:
        packs = self._git.folder / "objects" / "pack"
        if packs.is_dir() and sum(path.suffix == ".pack" for path in packs.iterdir()) > PACKS:
            self._git.run(*LAZY, "repack", "-a", "-d", "-q")

    def _refuse_no_folder(self) -> None:
        folder = self.remote.folder
        if folder is not None and not folder.is_dir():
            raise SourceUnavailable(f"there is no git repository at {folder}")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One at a time changes the copy; the kernel lets the lock go with its holder."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            wait_for(descriptor, self._stop, self._alive)
            self._clear()
            yield
        finally:
            os.close(descriptor)

    def _told(self, error: GitFailed) -> ConnectorError:
        """What went wrong, as a sentence about this repository."""
        said, label = error.said, self.remote.label
        where = self.remote.host or self.remote.url
        if re.search(r"returned error: 429|rate limit", said, re.I):
            return RateLimited(f"{where} asks for patience", 60.0)
        if re.search(r"could not read Username|terminal prompts disabled", said):
            return Permanent(f"{label} does not exist, or may not be read without a token")
        if re.search(
            r"could not read Password|Authentication failed|returned error: 40[13]|Permission denied", said
        ):
            return Permanent(f"{label} may not be read: {where} refused the credentials")
        if re.search(r"couldn't find remote ref", said):
            return SourceUnavailable(f"the branch of {label} changed while it was fetched")
        if re.search(
            r"not appear to be a git repo|not a git repo|not found|returned error: 404|dubious owner", said
        ):
            what = self.remote.folder or self.remote.url
            return Permanent(f"there is no git repository at {what}, or it may not be read")
        if re.search(r"Host key verification failed", said):
            return Permanent(f"the host key of {where} is not known: connect once by ssh, then try again")
        if re.search(r"transport '.*' not allowed", said):
            return Permanent(f"{where} sends elsewhere, by a way that is not allowed")
        return SourceUnavailable(f"{label} could not be fetched from {where}: {_plain(said)}")


def wait_for(descriptor: int, stop: Callable[[], bool], alive: Callable[[], None]) -> None:
    """Until this lock is ours; raises Stopped where the job is to end first."""
    import time

    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if stop():
                raise Stopped from None
            alive()
            time.sleep(0.02)


def _plain(said: str) -> str:
    return re.sub(r"\b(?:fatal|error|remote): ", "", said)[:300].rstrip(". ")
