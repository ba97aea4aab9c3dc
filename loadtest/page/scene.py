"""The record, sorted for drawing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from loadtest import figures
from loadtest.figures import Span, firsts
from loadtest.incidents import merge
from loadtest.page import series
from loadtest.page.series import Row, Steps
from loadtest.record import Event, Record

STEPS_COUNTED = 120


class Scene:
    """The record, sorted for drawing."""

    def __init__(self, record: Record, report: Mapping[str, Any]) -> None:
        self.record = record
        self.report = report
        self.scenario = record.meta["scenario"]
        self.jobs = {job["id"]: job for job in record["job"]}
        self.attempts = record["attempt"]
        moments = {phase["name"]: float(phase["at"]) for phase in record["phase"]}
        last = max((a["ended"] or a["started"] for a in self.attempts), default=0.0)
        self.began = moments.get("began", min((a["leased"] for a in self.attempts), default=0.0))
        self.over = max(moments.get("over", last), self.began)
        self.steps = Steps.over(self.began, self.over, most=STEPS_COUNTED)
        source_of = {id_: job["source"] for id_, job in self.jobs.items()}
        self.held = figures.spans(self.attempts, source_of)
        self.budget = report["budget"]["budget"]
        self.sources = [source["name"] for source in self.scenario["sources"]]

    def events(self, type_: str) -> list[Event]:
        """Those since the jobs began, as many as are drawn."""
        found = [event for event in self.record[type_] if self.began <= event["at"] <= self.over]
        return found[:: -(-len(found) // series.STEPS) or 1]

    def waits(self) -> dict[str, list[tuple[float, float]]]:
        """When each source had something waiting, merged."""
        waits: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for id_, first in firsts(self.attempts).items():
            job = self.jobs[id_]
            waits[job["source"]].append((job["created_at"], first["leased"]))
        for event in self.record["waiting"]:
            waits[event["source"]].append((event["since"], self.over))
        return {name: merge(some) for name, some in waits.items()}

    def costs(self) -> list[float]:
        """Of each launch, what a second of it costs: the largest share it holds of any resource."""
        budget = self.budget
        return [span.share(budget["cpu"], budget["memory_bytes"], budget["cells"]) for span in self.held]

    def got(self, steps: Steps) -> dict[str, list[float]]:
        """Resource time of each source in each step."""
        by_source: dict[str, list[tuple[Span, float]]] = {name: [] for name in self.sources}
        for span, cost in zip(self.held, self.costs(), strict=True):
            by_source[span.source].append((span, cost))
        return {name: series.spent(steps, held) for name, held in by_source.items()}

    def since(self, events: Sequence[Event]) -> list[float]:
        """Their moments, in seconds from the start."""
        return [round(event["at"] - self.began, 2) for event in events]

    def at(self, x: Sequence[float], held: Sequence[tuple[Span, float]]) -> Row:
        """What was held at each of these moments, in sum."""
        changes = sorted(
            change for span, weight in held for change in ((span.start, weight), (span.end, -weight))
        )
        row: Row = []
        total, n = 0.0, 0
        for at in x:
            while n < len(changes) and changes[n][0] <= self.began + at:
                total += changes[n][1]
                n += 1
            row.append(series.rounded(max(0.0, total)))
        return row
