"""What goes wrong between here and a mail server, in sentences, classed by whether trying again helps."""

from __future__ import annotations

import imaplib
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from connectors.imap_mail.options import ImapOptions
from farm.connector import ConnectorError, Permanent, RateLimited, SourceUnavailable, Transient

_BUSY = re.compile(
    r"\[(?:LIMIT|INUSE|OVERQUOTA|THROTTLED)\]|too many (?:simultaneous )?connections|bandwidth limit"
    r"|maximum number of connections|rate limit|throttl",
    re.I,
)
_DOWN = re.compile(r"\[(?:UNAVAILABLE|SERVERBUG|CONTACTADMIN)\]|temporar|try again|internal error", re.I)
_WAIT_S = 60.0


class Dropped(SourceUnavailable):
    """The connection broke in the middle: another one may do."""


class Refused(Transient):
    """The server said NO or BAD to a command."""


@contextmanager
def in_words(options: ImapOptions) -> Iterator[None]:
    """Any error of the libraries below comes out as one of ours."""
    server = options.place
    try:
        yield
    except ConnectorError:
        raise
    except ssl.SSLCertVerificationError as error:
        why = getattr(error, "verify_message", "") or str(error)
        raise Permanent(f"the certificate of {server} is not trusted: {why}") from error
    except ssl.SSLError as error:
        if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            raise Dropped(f"{server} dropped the connection") from error
        reason = (error.reason or "no TLS there").replace("_", " ").lower()
        raise SourceUnavailable(f"no TLS with {server}: {reason}; check port and security") from error
    except TimeoutError as error:
        raise SourceUnavailable(f"{server} did not answer for {options.timeout:g} s") from error
    except socket.gaierror as error:
        raise SourceUnavailable(f"there is no host {options.host}") from error
    except ConnectionRefusedError as error:
        raise SourceUnavailable(f"nothing answers at {options.host}, port {options.real_port}") from error
    except imaplib.IMAP4.abort as error:
        raise _aborted(server, _text(error)) from error
    except OSError as error:
        raise Dropped(f"the connection to {server} broke: {error.strerror or error}") from error
    except imaplib.IMAP4.error as error:
        raise refused(server, _text(error)) from error
    except (ValueError, IndexError, KeyError, TypeError, AssertionError) as error:
        # What IMAPClient's parser says to bytes that are no IMAP.
        raise Dropped(f"{server} answered something that is not IMAP: {_text(error)}") from error


def refused(server: str, said: str) -> ConnectorError:
    """The server refused a command, and said this."""
    if _BUSY.search(said):
        return RateLimited(f"{server} asks for patience: {said}", _WAIT_S)
    return Refused(f"{server} refused: {said}")


def login_refused(options: ImapOptions, said: str) -> ConnectorError:
    """A wrong password is nobody's to retry; a server that cannot check it now is."""
    if _BUSY.search(said):
        return RateLimited(f"{options.place} asks for patience: {said}", _WAIT_S)
    if _DOWN.search(said):
        return SourceUnavailable(f"{options.place} cannot check the login now: {said}")
    secret = options.password or options.token or options.refresh_token
    return Permanent(
        f"{options.place} refused the login of {options.user}: check the secret {secret} ({said})"
    )


def _aborted(server: str, said: str) -> ConnectorError:
    if _BUSY.search(said):
        return RateLimited(f"{server} asks for patience: {said}", _WAIT_S)
    return Dropped(f"{server} dropped the connection")


def _text(error: BaseException) -> str:
    """The server's words on one line.

    >>> _text(imaplib.IMAP4.error("b'[ALERT] No.'"))
    '[ALERT] No.'
    """
    text = " ".join(str(error).split())
    quoted = re.fullmatch(r"b(['\"])(.*)\1", text)
    return (quoted[2] if quoted else text)[:300]
