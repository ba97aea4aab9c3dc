"""A worker's way to secrets: by name, once, and whatever it has read is masked in all that it says."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from farm import secrets
from farm.connector import Permanent
from farm.workers.redact import Redactor

log = logging.getLogger("farm.secrets")


class Vault:
    """`environment` is the worker's own, from before it was cleared of secrets."""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        self._home = home
        self._environment = environment
        self._warned: set[str] = set()
        self.redact = Redactor(secrets.values(home, environment))

    def secret(self, name: str) -> str:
        """Read anew each time, so that a changed one holds from the next job on; raises Permanent."""
        try:
            found = secrets.find(name, home=self._home, environment=self._environment)
        except (secrets.SecretMissing, secrets.SecretRefused) as error:
            raise Permanent(str(error)) from None
        self.redact.learn(found.value)
        if found.place is secrets.Place.ENVIRONMENT and name not in self._warned:
            self._warned.add(name)
            log.warning("%s comes from the environment, where other programs can see it", name)
        return found.value
