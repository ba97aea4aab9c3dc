from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.imap_mail import session
from tests.support.dovecot import PASSWORD, Account, shared
from tests.support.farms import Farm

_numbers = itertools.count(1)


@pytest.fixture
def ann() -> Iterator[Account]:
    """A person with an empty mailbox."""
    yield shared().account(f"ann{next(_numbers)}")
    session.forget()


@pytest.fixture
def farm_of(tmp_path: Path) -> Iterator[Callable[..., Farm]]:
    """A farm with these options as its source `mail`."""
    farms: list[Farm] = []

    def make(options: dict[str, Any], *, password: str = PASSWORD, **table: Any) -> Farm:
        sources = {"mail": {"connector": "imap", "options": options, **table}}
        farm = Farm(tmp_path / f"home{len(farms)}", sources)
        secret = farm.home / "secrets" / "mail"
        secret.parent.mkdir(mode=0o700)
        secret.touch(mode=0o600)
        secret.write_text(password)
        farms.append(farm)
        return farm

    yield make
    for farm in farms:
        farm.close()
