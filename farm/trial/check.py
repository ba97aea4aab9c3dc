"""Can the source be read? Its connector says so itself, in a cell."""

from __future__ import annotations

from pathlib import Path

import msgspec

from farm.connector import Line, Record
from farm.core.job import Outcome
from farm.lines import Malformed
from farm.settings import Settings, SourceSettings
from farm.trial.bench import Bench
from farm.words import span
from farm.workers import probe

TIMEOUT_S = 30.0
"""Whoever asks is waiting for the answer, whatever the source's jobs may take."""


def check(settings: Settings, source: SourceSettings, home: Path | None = None) -> str | None:
    """None when the source can be read; else a sentence that says what is wrong. `home` has its secrets."""
    wrong: list[str | None] = []

    def enough(line: Line | Malformed) -> bool:
        if isinstance(line, Record):
            wrong.append(line.record["wrong"])
        return False

    options = msgspec.json.encode({"connector": source.connector, "options": source.options_json}).decode()
    with Bench(source, home) as bench:
        ending, _ = bench.discover(enough, timeout_s=TIMEOUT_S, connector=probe.NAME, options=options)
    if wrong:
        return wrong[0]
    if ending.outcome is Outcome.TIMED_OUT or ending.outcome is Outcome.STALLED:
        return f"no answer within {span(min(TIMEOUT_S, source.profile.timeout_s))}"
    return ending.message or f"the check ended as {ending.outcome}"
