"""Seven sources of every kind beside each other, each with its real other side, for one farm to read at once."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from farm import secrets
from tests.connectors_github.gits import Work
from tests.connectors_github.hub import Hub
from tests.connectors_imap.mails import mail
from tests.connectors_imap.proxy import Proxy
from tests.support import dovecot
from tests.support.dovecot import Account
from tests.support.farms import local_files

HOOK = "a word that only the hub and the farm know"
TOKEN = "what the program is given"
RESTS = {"failures": 2, "cool": "500ms", "cool_max": "1s"}
SOON = {"class": "fast", "base": "200ms", "max": "500ms", "max_attempts": 5}

PROGRAM = """
import json, os, pathlib, sys
here = pathlib.Path(__file__).parent
assert os.environ["TOKEN"] == "{token}"
step, given = sys.argv[1], json.load(sys.stdin)
if step == "discover":
    for path in sorted((here / "units").iterdir()):
        print(json.dumps({{"type": "UNIT", "key": path.name, "version": "1"}}))
else:
    with open(here / "asked", "a") as asked:
        asked.write(given["key"] + "\\n")
    text = (here / "units" / given["key"]).read_text()
    print(json.dumps({{"type": "DOCUMENT", "key": given["key"], "title": given["key"], "text": text}}))
"""

WORDS = "of many words " * 60


@dataclass
class Town:
    """`grow` adds as much to every source; `expected` is how many documents each then has."""

    folder: Path
    hub: Hub
    code: Work
    mail: Account
    box: Account
    proxy: Proxy
    """Between the farm and the server of `box`."""
    expected: dict[str, int] = field(default_factory=dict)
    _round: int = 0

    SIZES: ClassVar[dict[str, int]] = {
        "notes": 300, "vault": 300, "code": 300, "issues": 150, "mail": 200, "box": 100, "script": 15,
    }  # fmt: skip

    def grow(self) -> None:
        self.write_notes()
        name = f"round{self._round}"
        for i in range(self.SIZES["notes"]):
            (self.notes / f"{name}-{i}.txt").write_text(f"note {name} {i} {WORDS}")
        for i in range(self.SIZES["script"]):
            (self.script / "units" / f"{name}-{i}").write_text(f"{name} {i} {WORDS}")
        self.push(self.SIZES["code"])
        first = self.expected.get("issues", 0)
        for i in range(self.SIZES["issues"]):
            self.hub.issue("octo/issues", first + i + 1, f"Issue {name} {i}", WORDS)
        for account, source in ((self.mail, "mail"), (self.box, "box")):
            first = self.expected.get(source, 0)
            account.fill((mail(first + i, size=1000) for i in range(self.SIZES[source])), start=first)
        for source, size in self.SIZES.items():
            if source not in ("code", "vault"):
                self.expected[source] = self.expected.get(source, 0) + size

    def write_notes(self) -> None:
        """So many more in the vault."""
        self._round += 1
        name, size = f"round{self._round}", self.SIZES["vault"]
        for i in range(size):
            (self.vault / f"{name}-{i}.md").write_text(f"# {name} {i}\n\n[[{name}-{i + 1}]] #tag {WORDS}\n")
        self.expected["vault"] = self.expected.get("vault", 0) + size

    def push(self, count: int) -> None:
        """So many more files in the repository."""
        first = self.expected.get("code", 0)
        self.code.commit({f"d{i % 7}/f{first + i}.md": f"# File {first + i}\n" for i in range(count)})
        self.expected["code"] = first + count

    def sources(self) -> dict[str, dict[str, Any]]:
        """Their tables in farm.toml."""
        script = {
            "argv": [sys.executable, str(self.script / "program.py")],
            "mode": "units",
            "complete": True,
            "env": {"TOKEN": "secret:script"},
        }
        github = {"connector": "github", "retry": SOON}
        issues = {"repository": "octo/issues", "base_url": self.hub.url, "content": ["issues"]}
        return {
            "notes": local_files(self.notes),
            # It is not to blame for what kills its workers.
            "vault": {
                "connector": "obsidian",
                "options": {"path": str(self.vault)},
                "retry": {**SOON, "base": "50ms", "max": "100ms", "max_deaths": 1000},
            },
            "code": {**github, "options": {**issues, "repository": "octo/code", "content": ["files"]}},
            "issues": {**github, "options": issues, "limits": RESTS},
            "mail": {"connector": "imap", "options": self.mail.options()},
            "box": {
                "connector": "imap",
                "options": self.box.options(port=self.proxy.port),
                "retry": SOON,
                "limits": RESTS,
            },
            "script": {"connector": "command", "options": script, "profile": {"memory": "128MB"}},
        }

    def tell_secrets(self, home: Path) -> None:
        for name, value in (("mail", dovecot.PASSWORD), ("hook", HOOK), ("script", TOKEN)):
            secrets.put(name, value, home=home)

    def asked_twice(self) -> dict[str, list[Any]]:
        """What each other side was asked for more than once."""
        program = (self.script / "asked").read_text().split()
        issues = [path for path in self.hub.api(200) if "/issues?" in path]
        found: dict[str, list[Any]] = {
            "mail": list(self.mail.fetches()),
            "box": list(self.box.fetches()),
            "script": program,
            "issues": issues,
        }
        return {source: sorted({it for it in all_ if all_.count(it) > 1}) for source, all_ in found.items()}

    @property
    def notes(self) -> Path:
        return self.folder / "notes"

    @property
    def vault(self) -> Path:
        return self.folder / "vault"

    @property
    def script(self) -> Path:
        return self.folder / "script"


@contextlib.contextmanager
def town(folder: Path) -> Iterator[Town]:
    """Built, with nothing in it yet."""
    server = dovecot.shared()
    with Hub(folder / "hub") as hub, Proxy(server.port) as proxy:
        code = hub.repository("octo/code", {"README.md": "# Code\n"})
        hub.repository("octo/issues")
        made = Town(folder, hub, code, server.account("town-mail"), server.account("town-box"), proxy)
        made.expected["code"] = 1
        for path in (made.notes, made.vault / ".obsidian", made.script / "units"):
            path.mkdir(parents=True)
        (made.script / "program.py").write_text(PROGRAM.format(token=TOKEN))
        yield made
