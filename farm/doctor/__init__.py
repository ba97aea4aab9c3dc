"""The examination: every invariant of ledger, store and process table, and which guards the machine lacks.

It changes nothing, and works beside a farm at work as well as on what a killed one left: attempts and
spools without an end are then no fault, the next start recovers them. Each database is read at one moment;
what is looked at twice in different places is looked at again before it is called broken.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from farm.doctor import content, ledger, machine, processes
from farm.doctor.finding import Finding
from farm.errors import ConfigErrors
from farm.home import LEDGER, owner
from farm.words import plural

__all__ = ["Finding", "examine"]


def examine(home: Path, config: Path | None) -> list[Finding]:
    """All findings, a check each; those that are not ok first say what is broken in `detail`."""
    return list(_examine(home.absolute(), config))


def _examine(home: Path, config: Path | None) -> Iterator[Finding]:
    yield processes.the_farm(home)
    if config is not None:
        yield _settings(config)
    found = list(ledger.examine(home / LEDGER))
    yield from found
    yield from content.examine(home)
    if all(each.ok for each in found if each.check == "ledger" or "file" in each.check):
        yield content.spools(home, runs=owner(home) is not None)
        yield from _under_way(home)
    yield processes.no_strays(home)
    yield from machine.folder(home)
    yield machine.sqlite_version()
    yield from machine.guards()


def _settings(config: Path) -> Finding:
    from farm.settings import load

    try:
        sources = load(config).sources
    except ConfigErrors as errors:
        return Finding("settings", False, "; ".join(errors.errors))
    return Finding("settings", True, plural(len(sources), "source"))


def _under_way(home: Path) -> Iterator[Finding]:
    if owner(home) is None and (home / LEDGER).exists():
        count = ledger.open_attempts(home / LEDGER)
        if count:
            yield Finding("recovery", True, f"{plural(count, 'attempt')} to be recovered at the next start")
