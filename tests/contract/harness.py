"""What the contract suite needs to know of each connector: how to make it a real source, and how to change it.

A new connector gets a harness here; without one the suite fails. The source has UNITS readable units and one
that can never be read.
"""

from __future__ import annotations

import itertools
import json
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from connectors.imap_mail import session
from tests.connectors_github.hub import Hub
from tests.connectors_imap.mails import mail
from tests.support import dovecot

GOOD = ("a.txt", "b.txt", "c.txt")
BAD = "broken.pdf"


@dataclass
class Harness(ABC):
    """One real source of a connector, in a folder of the test's own."""

    name: ClassVar[str]
    folder: Path
    watched: ClassVar[bool] = False
    """Whether the connector has a folder to watch."""
    snapshot: ClassVar[bool] = False
    """Whether what was listed stays readable as it was then."""

    replaced: ClassVar[bool] = False
    """Whether what changes becomes another unit, and the one before is gone."""
    remembers: ClassVar[bool] = False
    """Whether discover, given its cursor, lists only what changed since."""
    follows: ClassVar[bool] = True
    """Whether a renamed unit is known for what it is, and not read again."""
    secrets: ClassVar[dict[str, str]] = {}

    def key(self, name: str) -> str:
        """The unit key of what this suite calls `name`."""
        return name

    def close(self) -> None:  # noqa: B027 - most have nothing to take down
        """Take down what build() put up."""

    @abstractmethod
    def build(self) -> dict[str, Any]:
        """Make the source; its options."""

    @abstractmethod
    def wrong_options(self) -> list[tuple[dict[str, Any], str]]:
        """Options, and where the error is placed."""

    @abstractmethod
    def unreachable(self) -> dict[str, Any]:
        """Options of a source that is not there."""

    @abstractmethod
    def change(self, key: str) -> None: ...

    @abstractmethod
    def remove(self, key: str) -> None: ...

    @abstractmethod
    def rename(self, key: str) -> None:
        """Give the unit another name, or place, and `key` that one from now on."""

    @abstractmethod
    def enlarge(self, key: str, text: str) -> None:
        """Have the unit say this much."""

    @abstractmethod
    def grow(self) -> None:
        """Make so many more units that listing them takes a while."""


@dataclass
class LocalFilesHarness(Harness):
    name = "local_files"
    watched = True

    names: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.folder / "files"

    def build(self) -> dict[str, Any]:
        self.root.mkdir()
        for key in GOOD:
            (self.root / key).write_text(f"This is what {key} says.\n")
        (self.root / BAD).write_bytes(b"%PDF-1.7\nnothing of a PDF follows\n")
        return {"path": str(self.root)}

    def wrong_options(self) -> list[tuple[dict[str, Any], str]]:
        return [
            ({}, "path: is missing"),
            ({"path": str(self.root), "exclud": ["*.tmp"]}, "exclud: unknown key; did you mean exclude"),
            ({"path": str(self.root), "hidden": "perhaps"}, "hidden: "),
        ]

    def unreachable(self) -> dict[str, Any]:
        return {"path": str(self.folder / "not-there")}

    def change(self, key: str) -> None:
        (self.root / key).write_text(f"{key} says something quite different now.\n")

    def remove(self, key: str) -> None:
        (self.root / key).unlink()

    def grow(self) -> None:
        for i in range(500):
            (self.root / f"more-{i}.txt").write_text("more")

    def rename(self, key: str) -> None:
        (self.root / key).rename(self.root / f"renamed-{key}")
        self.names[key] = f"renamed-{key}"

    def key(self, name: str) -> str:
        return self.names.get(name, name)

    def enlarge(self, key: str, text: str) -> None:
        (self.root / key).write_text(text)


@dataclass
class ObsidianHarness(LocalFilesHarness):
    """A vault whose good units are notes, and whose bad one is a broken attachment."""

    name = "obsidian"

    def build(self) -> dict[str, Any]:
        super().build()
        (self.root / ".obsidian").mkdir()
        for name in GOOD:
            self.names[name] = name.replace(".txt", ".md")
            (self.root / name).rename(self.root / self.names[name])
        return {"path": str(self.root)}

    def wrong_options(self) -> list[tuple[dict[str, Any], str]]:
        return [
            ({}, "path: is missing"),
            ({"path": "relative"}, "path: "),
            ({"path": str(self.root), "exclud": ["*.tmp"]}, "exclud: unknown key; did you mean exclude"),
        ]

    def change(self, key: str) -> None:
        super().change(self.names[key])

    def remove(self, key: str) -> None:
        super().remove(self.names[key])

    def rename(self, key: str) -> None:
        (self.root / self.names[key]).rename(self.root / f"renamed-{self.names[key]}")
        self.names[key] = f"renamed-{self.names[key]}"

    def enlarge(self, key: str, text: str) -> None:
        super().enlarge(self.names[key], text)

    def grow(self) -> None:
        for i in range(500):
            (self.root / f"more-{i}.md").write_text(f"more [[more-{i + 1}]]")


class CommandHarness(Harness):
    """A program whose versions are numbers, which say nothing of what a unit is."""

    name = "command"
    follows = False
    secrets: ClassVar[dict[str, str]] = {"token": "s3cret-of-the-program"}

    PROGRAM: ClassVar[str] = """
import json, sys
source = json.load(open(sys.argv[1]))
step, given = sys.argv[2], json.load(sys.stdin)
if step == "discover":
    for key, unit in source.items():
        print(json.dumps({"type": "UNIT", "key": key, "version": str(unit["version"])}), flush=True)
elif given["key"].endswith(".pdf"):
    print("it is broken", file=sys.stderr)
    sys.exit(65)
else:
    text = source[given["key"]]["text"]
    print(json.dumps({"type": "DOCUMENT", "key": given["key"], "text": text, "title": given["key"]}))
"""

    def build(self) -> dict[str, Any]:
        (self.folder / "program.py").write_text(self.PROGRAM)
        self._write({key: {"version": 1, "text": f"This is what {key} says."} for key in (*GOOD, BAD)})
        argv = [sys.executable, str(self.folder / "program.py"), str(self.folder / "source.json")]
        return {"argv": argv, "mode": "units", "complete": True, "env": {"TOKEN": "secret:token"}}

    def wrong_options(self) -> list[tuple[dict[str, Any], str]]:
        return [
            ({}, "argv: is missing"),
            ({"argv": []}, "argv: "),
            ({"argv": ["a"], "mod": "units"}, "mod: unknown key; did you mean mode?"),
            ({"argv": ["a"], "mode": "batch"}, "mode: "),
        ]

    def unreachable(self) -> dict[str, Any]:
        return {"argv": [str(self.folder / "not-there")]}

    def change(self, key: str) -> None:
        source = self._read()
        source[key] = {"version": source[key]["version"] + 1, "text": "something quite different"}
        self._write(source)

    def remove(self, key: str) -> None:
        source = self._read()
        del source[key]
        self._write(source)

    def grow(self) -> None:
        self._write(self._read() | {f"more-{i}.txt": {"version": 1, "text": "more"} for i in range(20_000)})

    def rename(self, key: str) -> None:
        source = self._read()
        source[f"renamed-{key}"] = source.pop(key)
        self._write(source)
        self.renamed = {**getattr(self, "renamed", {}), key: f"renamed-{key}"}

    def key(self, name: str) -> str:
        return str(getattr(self, "renamed", {}).get(name, name))

    def enlarge(self, key: str, text: str) -> None:
        self._write(self._read() | {key: {"version": 9, "text": text}})

    def _read(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "source.json").read_text())
        return found

    def _write(self, source: dict[str, Any]) -> None:
        (self.folder / "source.json").write_text(json.dumps(source))


class GitHubHarness(Harness):
    """A private repository that git serves on this machine: the API has tests of its own."""

    name = "github"
    snapshot = True
    secrets: ClassVar[dict[str, str]] = {"github": "ghp_s3cret-of-the-repository"}

    def build(self) -> dict[str, Any]:
        self.hub = Hub(self.folder / "hub")
        self.hub.password = self.secrets["github"]
        self.hub.__enter__()
        texts: dict[str, str | bytes | None] = {key: f"This is what {key} says.\n" for key in GOOD}
        self.work = self.hub.repository("octo/it", {**texts, BAD: b"%PDF-1.7\nnothing of a PDF follows\n"})
        return self._options("octo/it")

    def close(self) -> None:
        self.hub.__exit__()

    def _options(self, repository: str) -> dict[str, Any]:
        return {
            "repository": repository,
            "base_url": self.hub.url,
            "content": ["files"],
            "token": "github",
        }

    def wrong_options(self) -> list[tuple[dict[str, Any], str]]:
        return [
            ({}, "repository: is missing"),
            ({"repository": "nonsense"}, "repository: "),
            ({"repository": "ext::sh -c id"}, "repository: "),
            ({"repository": "a/b", "brach": "main"}, "brach: unknown key; did you mean branch"),
            ({"repository": "a/b", "content": ["issue"]}, "content."),
            ({"repository": "a/b", "token": "no name of a secret"}, "token: "),
        ]

    def unreachable(self) -> dict[str, Any]:
        return self._options("octo/not-there")

    def change(self, key: str) -> None:
        self.work.commit({key: f"{key} says something quite different now.\n"})

    def remove(self, key: str) -> None:
        self.work.commit({key: None})

    def rename(self, key: str) -> None:
        text = (self.work.folder / key).read_text()
        self.work.commit({key: None, f"renamed-{key}": text})
        self.renamed = {**getattr(self, "renamed", {}), key: f"renamed-{key}"}

    def key(self, name: str) -> str:
        return str(getattr(self, "renamed", {}).get(name, name))

    def enlarge(self, key: str, text: str) -> None:
        self.work.commit({key: text})

    def grow(self) -> None:
        self.work.commit({f"more-{i}.txt": f"more {i}" for i in range(500)})


class ImapHarness(Harness):
    """A mailbox on a real server. A message never changes: who edits one puts another in its place."""

    name = "imap"
    replaced = True
    remembers = True
    secrets: ClassVar[dict[str, str]] = {"mail": dovecot.PASSWORD}

    def build(self) -> dict[str, Any]:
        self.account = dovecot.shared().account(f"contract{next(_numbers)}")
        texts = [mail(0, f"This is what {name} says.\r\n") for name in GOOD]
        self.keys = dict(zip((*GOOD, BAD), self._put(*texts, b"\r\n"), strict=True))
        return self.account.options()

    def key(self, name: str) -> str:
        return self.keys[name]

    def wrong_options(self) -> list[tuple[dict[str, Any], str]]:
        good = self.account.options()
        return [
            ({}, "host: is missing"),
            ({**good, "folder": "INBOX"}, "folder: unknown key; did you mean folders"),
            ({**good, "password": "no name of a secret"}, "password: "),
            ({**good, "security": "ssl"}, "security: "),
            ({**good, "since": "yesterday"}, "since: "),
        ]

    def unreachable(self) -> dict[str, Any]:
        return {**self.account.options(), "port": dovecot.free_port()}

    def change(self, key: str) -> None:
        self.remove(key)
        [self.keys[key]] = self._put(mail(0, f"{key} says something quite different now.\r\n"))

    def remove(self, key: str) -> None:
        self.account.expunge(int(self.keys[key].rpartition(".")[2]))

    def rename(self, key: str) -> None:
        uid = int(self.keys[key].rpartition(".")[2])
        with self.account.client() as client:
            client.create_folder("Kept")
            client.select_folder("INBOX")
            client.move([uid], "Kept")
        self.keys[key] = f"Kept/{self.account.validity('Kept')}.1"

    def enlarge(self, key: str, text: str) -> None:
        self.remove(key)
        lines = "\r\n".join(text[at : at + 900] for at in range(0, len(text), 900))
        [self.keys[key]] = self._put(mail(0, f"{lines}\r\n"))

    def grow(self) -> None:
        self.account.fill(mail(number) for number in range(1, 1500))

    def close(self) -> None:
        session.forget()

    def _put(self, *messages: bytes) -> list[str]:
        uids, validity = self.account.append(*messages), self.account.validity()
        return [f"INBOX/{validity}.{uid}" for uid in uids]


_numbers = itertools.count(1)

HARNESSES: dict[str, type[Harness]] = {
    harness.name: harness
    for harness in (LocalFilesHarness, ObsidianHarness, CommandHarness, GitHubHarness, ImapHarness)
}
