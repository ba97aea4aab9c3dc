"""A real Dovecot on loopback: one process tree in a folder of its own, without a right that its user lacks.

Its package is installed when it is missing and somebody may install it. Mail lies in Maildirs, so that a test can
put ten thousand messages there at once, and what clients say is written down by the server itself (rawlog).
"""

from __future__ import annotations

import atexit
import contextlib
import grp
import os
import pwd
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from imapclient import IMAPClient

from tests.support.wait import until

PROGRAM = "/usr/sbin/dovecot"
PASSWORD = "correct-horse-10"

CONFIG = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
protocols = imap
listen = 127.0.0.1
ssl = {ssl}
{certificate}
disable_plaintext_auth = no
auth_mechanisms = {mechanisms}
auth_failure_delay = 0
default_internal_user = {user}
default_login_user = {user}
default_internal_group = {group}
first_valid_uid = 1
first_valid_gid = 1
passdb {{
  driver = static
  args = password={password}
}}
{more}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={folder}/home/%u
}}
mail_location = maildir:~/Maildir
mailbox_list_index = yes
mail_max_userip_connections = {connections}
maildir_very_dirty_syncs = no
rawlog_dir = {folder}/rawlog/%u
{capability}
namespace inbox {{
  inbox = yes
  separator = /
  mailbox Trash {{
    special_use = \\Trash
  }}
  mailbox Junk {{
    special_use = \\Junk
  }}
}}
service anvil {{
  chroot =
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls_port}
    ssl = yes
  }}
}}
"""


def install() -> None:
    """Dovecot from the distribution; skips the test where nobody may install it, and fails it under CI."""
    if Path(PROGRAM).exists():
        return
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    done: subprocess.CompletedProcess[str] | None = None
    with contextlib.suppress(OSError):
        for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "dovecot-imapd"]):
            environment = ["env", "DEBIAN_FRONTEND=noninteractive"]
            done = subprocess.run(
                [*sudo, *environment, *command], capture_output=True, text=True, timeout=300, check=False
            )
    if Path(PROGRAM).exists():
        return
    why = f"dovecot-imapd is not installed and could not be: {(done.stderr if done else '').strip()[-300:]}"
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


class Dovecot:
    """One server; `port` speaks plain IMAP, `tls_port` IMAP over TLS where a certificate was given."""

    def __init__(
        self,
        *,
        capability: str = "",
        certificate: tuple[Path, Path] | None = None,
        connections: int = 20,
        mechanisms: str = "plain login",
        more: str = "",
    ) -> None:
        install()
        self.folder = Path(tempfile.mkdtemp(prefix="dovecot-"))
        self.port, self.tls_port = free_port(), free_port()
        account = pwd.getpwnam("dovecot") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        self.uid, self.gid = account.pw_uid, account.pw_gid
        keys = ""
        if certificate is not None:
            for path, name in zip(certificate, ("cert.pem", "key.pem"), strict=True):
                shutil.copyfile(path, self.folder / name)
            keys = f"ssl_cert = <{self.folder}/cert.pem\nssl_key = <{self.folder}/key.pem"
        self.config = self.folder / "dovecot.conf"
        self.config.write_text(
            CONFIG.format(
                folder=self.folder,
                ssl="yes" if certificate else "no",
                certificate=keys,
                mechanisms=mechanisms,
                user=account.pw_name,
                group=grp.getgrgid(self.gid).gr_name,
                uid=self.uid,
                gid=self.gid,
                more=more.format(folder=self.folder),
                password=PASSWORD,
                connections=connections,
                capability=f"imap_capability = {capability}" if capability else "",
                port=self.port,
                tls_port=self.tls_port,
            )
        )
        for name in ("rawlog", "home"):
            (self.folder / name).mkdir()
        self.give(self.folder)
        self.process: subprocess.Popen[bytes] | None = None

    # -- the process

    def start(self) -> Self:
        self.give(self.folder)
        own = {"user": self.uid, "group": self.gid, "extra_groups": []} if os.geteuid() == 0 else {}
        self.process = subprocess.Popen(
            [PROGRAM, "-F", "-c", str(self.config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,  # in our session: a pool here would take another for a stray's
            **own,  # type: ignore[arg-type]
        )
        until(self._answers, 20, what=f"Dovecot's start: {self.said()}")
        return self

    def stop(self) -> None:
        """End it with all its processes."""
        if self.process is None:
            return
        process, self.process = self.process, None
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def said(self) -> str:
        log = self.folder / "dovecot.log"
        return log.read_text(errors="replace")[-2000:] if log.exists() else ""

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.said()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as client:
            return client.recv(4) == b"* OK"
        return False

    def give(self, path: Path) -> None:
        """To the user it runs as."""
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", f"{self.uid}:{self.gid}", str(path)], check=True)

    def account(self, user: str) -> Account:
        """A person's mail; everybody has an account here, all with the same password."""
        account = Account(self, user)
        account.rawlog.mkdir(exist_ok=True)
        account.maildir().mkdir(parents=True, exist_ok=True)
        self.give(account.rawlog)
        self.give(self.folder / "home")
        return account


class Account:
    """One person's mailboxes on a server."""

    def __init__(self, server: Dovecot, user: str) -> None:
        self.server = server
        self.user = user
        self.rawlog = server.folder / "rawlog" / user

    def options(self, **more: Any) -> dict[str, Any]:
        return {
            "host": "127.0.0.1",
            "port": self.server.port,
            "security": "plain",
            "user": self.user,
            "password": "mail",
            **more,
        }

    def maildir(self, mailbox: str = "INBOX") -> Path:
        """The Maildir of a mailbox."""
        root = self.server.folder / "home" / self.user / "Maildir"
        return root if mailbox == "INBOX" else root / ("." + mailbox.replace("/", "."))

    def fill(self, messages: Iterable[bytes], mailbox: str = "INBOX", *, start: int = 1) -> int:
        """Lay these messages into a mailbox, faster than by IMAP; how many they were."""
        folder = self.maildir(mailbox)
        for name in ("cur", "new", "tmp"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        count = 0
        for count, raw in enumerate(messages, 1):
            number = 1_700_000_000 + start + count
            path = folder / "cur" / f"{number}.M{start + count}P1.test,S={len(raw)}:2,"
            path.write_bytes(raw)
            os.utime(path, (number, number))
        self.server.give(folder)
        return count

    def validity(self, mailbox: str = "INBOX") -> int:
        with self.client() as client:
            return int(client.folder_status(mailbox, ["UIDVALIDITY"])[b"UIDVALIDITY"])

    @contextlib.contextmanager
    def client(self) -> Iterator[IMAPClient]:
        """A mail program of the same person."""
        client = IMAPClient("127.0.0.1", self.server.port, ssl=False, timeout=20)
        try:
            client.plain_login(self.user, PASSWORD)
            yield client
        finally:
            with contextlib.suppress(Exception):
                client.logout()

    def append(self, *messages: bytes, mailbox: str = "INBOX") -> list[int]:
        """Put messages into a mailbox by IMAP; their UIDs."""
        uids = []
        with self.client() as client:
            if not client.folder_exists(mailbox):
                client.create_folder(mailbox)
            for raw in messages:
                said = re.search(rb"APPENDUID \d+ (\d+)", client.append(mailbox, raw))
                assert said
                uids.append(int(said[1]))
        return uids

    def expunge(self, *uids: int, mailbox: str = "INBOX") -> None:
        with self.client() as client:
            client.select_folder(mailbox)
            client.delete_messages(uids)
            client.expunge()

    def renumber(self, mailbox: str = "INBOX") -> None:
        """Give the mailbox another UIDVALIDITY and its messages UIDs from 1, as a restored backup has them."""
        before = self.validity(mailbox)
        for path in [*self.maildir(mailbox).glob("dovecot*"), *self.maildir().glob("dovecot.list.index*")]:
            if not path.name.startswith("dovecot-uidvalidity"):  # has it never give the same one again
                path.unlink(missing_ok=True)
        assert self.validity(mailbox) != before

    # -- what clients asked

    def commands(self) -> list[str]:
        """Everything that clients have said after their login, as the server heard it."""
        said: list[str] = []
        for path in sorted(self.rawlog.glob("*.in"), key=lambda path: path.stat().st_mtime_ns):
            for line in path.read_bytes().splitlines():
                said.append(re.sub(rb"^\d+\.\d+ ", b"", line).decode("latin-1"))
        return said

    def fetches(self, what: str = "BODY.PEEK[]") -> list[int]:
        """The UIDs whose bodies (or whatever `what` names) were asked for, one for each time."""
        found: list[int] = []
        for line in self.commands():
            asked = re.search(r"UID FETCH ([\d,:]+) \((.*)\)", line)
            if asked and what in asked[2]:
                for part in asked[1].split(","):
                    low, _, high = part.partition(":")
                    found += range(int(low), int(high or low) + 1)
        return found


_shared: list[Dovecot] = []


def shared() -> Dovecot:
    """One server for whoever is content with an account of their own on it; it ends with this process."""
    if not _shared:
        _shared.append(Dovecot().start())
        atexit.register(_shared[0].close)
    return _shared[0]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for localhost and its key."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )  # fmt: skip
    ssl.create_default_context(cafile=cert)
    return cert, key
