"""What is drawn of a record: each plot with a title, a sentence and its rows. One that would be empty is left out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

from loadtest.figures import firsts
from loadtest.incidents import gone_late_ms
from loadtest.page import series
from loadtest.page.scene import Scene
from loadtest.page.series import Row, Steps

MOST_ROWS = 8
"""More sources than this are drawn as one: nobody tells more colours apart."""
STEPS_SHARED = 60
WINDOW_S = 5.0
"""Over shorter times no share is even: sources take turns by launches of a quarter of a second."""
FAR = 4.0
"""A bound so many times above everything else would press it flat: it is said instead of drawn."""
MB = 1e6


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a plot."""

    label: str
    values: Sequence[float | None]
    bound: bool = False
    """A limit: drawn dashed."""


@dataclass(frozen=True, slots=True)
class Plot:
    title: str
    note: str
    unit: str
    x: list[float]
    """Seconds from the start."""
    lines: list[Line]
    kind: str = "line"
    """line, steps (a value holds for its step), stack (steps upon each other), points."""
    log: bool = False
    top: float | None = None
    """Where the axis ends, if not with the data."""
    end: float = 0.0
    """Where all plots of a page end, in seconds."""
    marks: list[float] = field(default_factory=list)
    """Moments at which the farm was killed."""

    @property
    def is_empty(self) -> bool:
        return not any(value for line in self.lines if not line.bound for value in line.values)

    def data(self) -> dict[str, Any]:
        return asdict(self)


def throughput(scene: Scene) -> Iterator[Plot]:
    steps, ended = scene.steps, defaultdict(list)
    for attempt in scene.attempts:
        if attempt["ended"] and attempt["ended"] < scene.over:
            ended[attempt["outcome"] == "succeeded"].append(attempt["ended"])
    came = [job["created_at"] for job in scene.jobs.values()]
    lines = [Line("succeeded", series.rate(steps, ended[True]))]
    if ended[False]:
        lines.append(Line("did not", series.rate(steps, ended[False])))
    arrived = series.rate(steps, came)
    most = max((value for line in lines for value in line.values if value), default=0.0)
    highest = max((value or 0.0 for value in arrived), default=0.0)
    note = "Attempts that ended, and jobs that came, a second."
    if highest > FAR * most:
        note = f"Attempts that ended a second. Jobs came in bursts, up to {highest:,.0f} a second."
    elif highest:
        lines.append(Line("came", arrived))
    yield Plot("Throughput", note, "a second", steps.x, lines, kind="steps")


def depth(scene: Scene) -> Iterator[Plot]:
    samples = scene.events("sample")
    names = {"pending": "waiting", "running": "running", "retrying": "in retry", "quarantined": "quarantined"}
    lines = [
        Line(label, row)
        for state, label in names.items()
        if any(row := [float(s["jobs"].get(state, 0)) for s in samples])
    ]
    yield Plot("Queue", "Jobs in each state, by samples.", "jobs", scene.since(samples), lines)


def latency(scene: Scene) -> Iterator[Plot]:
    points = []
    for id_, first in firsts(scene.attempts).items():
        came = max(scene.jobs[id_]["created_at"], scene.began)
        points.append((first["started"], max((first["started"] - came) * 1000, 0.01)))
    rows = series.quantiles(scene.steps, points, (0.5, 0.95, 0.99))
    lines = [Line(label, row) for label, row in zip(("median", "p95", "p99"), rows, strict=True)]
    yield Plot(
        "Wait before the start",
        "From a job's coming to its start, of the jobs that started in each step.",
        "ms",
        scene.steps.x,
        lines,
        log=True,
    )


def share(scene: Scene) -> Iterator[Plot]:
    if len(scene.sources) < 2:
        return
    steps = Steps.over(scene.began, scene.over, most=STEPS_SHARED)
    got = scene.got(steps)
    window = max(1, round(WINDOW_S / steps.step_s))
    lately = {name: series.trailing(row, window) for name, row in got.items()}
    lines = [Line(name, row) for name, row in series.shares(_few(lately)).items()]
    note = f"Resource time of each source (its largest share of any resource) in the last {WINDOW_S:g} s."
    yield Plot("Share of each source", note, "%", steps.x, lines, kind="stack", top=100)
    weights = {source["name"]: source["weight"] for source in scene.scenario["sources"]}
    waits = scene.waits()
    rows = {
        f"last {WINDOW_S:g} s": series.jain_over(steps, got, waits, weights, window),
        "so far": series.jain_over(steps, got, waits, weights, steps.n),
    }
    note = "Jain's index of resource time by weight, among the sources that had work waiting all that time."
    lines = [Line(label, row) for label, row in rows.items()]
    yield Plot("Fairness", f"{note} 1 is even.", "", steps.x, lines, top=1.05)


def memory(scene: Scene) -> Iterator[Plot]:
    samples = scene.events("sample")
    x = scene.since(samples)
    reserved = scene.at(x, [(span, span.memory_bytes / MB) for span in scene.held])
    lines = [
        Line("farm", [series.rounded(s["memory_bytes"] / MB) for s in samples]),
        Line("its workers", [series.rounded(s["children_bytes"] / MB) for s in samples]),
        Line("reserved", reserved),
    ]
    yield _bounded("Memory", "resident", lines, x, "MB", scene.budget["memory_bytes"] / MB)


def cpu(scene: Scene) -> Iterator[Plot]:
    samples = scene.events("sample")
    rows: dict[str, Row] = {"farm": [], "its workers": [], "other programs": []}
    for before, after in pairwise(samples):
        seconds = max(after["at"] - before["at"], 1e-3)
        used = {
            who: max(0.0, after[f"{who}cpu_s"] - before[f"{who}cpu_s"]) / seconds
            for who in ("", "children_", "driver_", "machine_")
        }
        rows["farm"].append(series.rounded(used[""]))
        rows["its workers"].append(series.rounded(used["children_"]))
        others = used["machine_"] - used[""] - used["children_"] - used["driver_"]
        rows["other programs"].append(series.rounded(max(0.0, others)))
    x = scene.since(samples[1:])
    lines = [Line(label, row) for label, row in rows.items()]
    lines.append(Line("reserved", scene.at(x, [(span, span.cpu) for span in scene.held])))
    yield _bounded("Processor", "used", lines, x, "cores", scene.budget["cpu"])


def holds(scene: Scene) -> Iterator[Plot]:
    statuses = scene.events("status")
    counted = [Counter(hold["reason"] for hold in status["holds"]) for status in statuses]
    reasons = sorted({reason for found in counted for reason in found})
    lines = [
        Line(reason.replace("_", " "), [float(found[reason]) for found in counted]) for reason in reasons
    ]
    note = "Sources whose first job waits, by what it waits for, as the farm says each second."
    yield Plot("Holds", note, "sources", scene.since(statuses), lines, kind="stack")


def landing(scene: Scene) -> Iterator[Plot]:
    statuses = scene.events("status")
    row: Row = [float(s.get("landing", 0)) for s in statuses]
    note = "Jobs that have ended and whose content is on its way into the store."
    yield Plot("Landing", note, "jobs", scene.since(statuses), [Line("landing", row)])


def endings(scene: Scene) -> Iterator[Plot]:
    steps = Steps.over(scene.began, scene.over, most=60)
    ended: dict[str, list[float]] = defaultdict(list)
    retried = []
    seen: set[int] = set()
    for attempt in scene.attempts:
        ended_at = attempt["ended"] or scene.over
        if attempt["outcome"] not in (None, "succeeded") and ended_at < scene.over:
            ended[attempt["outcome"]].append(attempt["ended"])
        if attempt["job"] in seen:
            retried.append(attempt["leased"])
        seen.add(attempt["job"])
    lines = [
        Line(outcome.replace("_", " "), series.counts(steps, at)) for outcome, at in sorted(ended.items())
    ]
    note = f"Attempts that did not succeed, by how they ended, in steps of {steps.step_s:g} s."
    yield Plot("Kills and failures", note, "attempts", steps.x, lines, kind="stack")
    note = f"Attempts after a job's first one, in steps of {steps.step_s:g} s."
    yield Plot(
        "Retries", note, "attempts", steps.x, [Line("retries", series.counts(steps, retried))], kind="stack"
    )


def gone(scene: Scene) -> Iterator[Plot]:
    asked = {source["name"]: source for source in scene.scenario["sources"]}
    events = scene.record["gone"]
    late = gone_late_ms(events, scene.jobs, scene.attempts, asked)
    if len(late) == len(events):
        x, row = series.thinned(scene.steps, [(e["at"], ms) for e, ms in zip(events, late, strict=True)])
        note = "From the deadline of a job that hung until the last process of its tree was gone."
        yield Plot("Killing", note, "ms", x, [Line("whole tree gone after", row)], kind="points")


def searchable(scene: Scene) -> Iterator[Plot]:
    if not scene.record["file"]:
        return
    done = {
        (scene.jobs[a["job"]]["source"], scene.jobs[a["job"]]["key"]): a["ended"]
        for a in scene.attempts
        if a["outcome"] == "succeeded"
    }
    for name in scene.sources:
        points = [
            (file["at"], done[name, file["key"]] - file["at"])
            for file in scene.record["file"]
            if file["source"] == name and (name, file["key"]) in done and file["at"] >= scene.began
        ]
        x, row = series.thinned(scene.steps, points)
        note = "From the last byte of a file until it could be found, by when it was written."
        yield Plot(f"Searchable: {name}", note, "s", x, [Line("seconds", row)], kind="points")


MAKERS: Sequence[Callable[[Scene], Iterator[Plot]]] = (
    throughput,
    depth,
    latency,
    share,
    cpu,
    memory,
    searchable,
    gone,
    endings,
    holds,
    landing,
)


def plots(scene: Scene) -> list[Plot]:
    """All that have something to show."""
    marks = [round(restart["killed"] - scene.began, 3) for restart in scene.record["restart"]]
    end = round(scene.over - scene.began, 3)
    made = (plot for make in MAKERS for plot in make(scene))
    return [replace(plot, marks=marks, end=end) for plot in made if not plot.is_empty]


def _bounded(title: str, what: str, lines: list[Line], x: list[float], unit: str, bound: float) -> Plot:
    """With the budget as a line, or in words where it is far above."""
    most = max((value for line in lines for value in line.values if value), default=0.0)
    number = f"{bound:,.0f}" if bound >= 100 else f"{bound:g}"
    note = f"{what.capitalize()} and reserved, against the budget of {number} {unit}"
    if bound > FAR * most:
        return Plot(title, f"{note}, which is far above.", unit, x, lines)
    budget = Line("budget", [series.rounded(bound)] * len(x), bound=True)
    return Plot(title, f"{note} (dashed).", unit, x, [*lines, budget])


def _few(rows: dict[str, list[float]]) -> dict[str, list[float]]:
    """The largest, and the rest as one."""
    if len(rows) <= MOST_ROWS:
        return rows
    largest = sorted(rows, key=lambda name: -sum(rows[name]))[: MOST_ROWS - 1]
    rest = [sum(values) for values in zip(*(r for n, r in rows.items() if n not in largest), strict=True)]
    return {**{name: rows[name] for name in rows if name in largest}, "others": rest}
