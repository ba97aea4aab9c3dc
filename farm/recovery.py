"""Recovery: what a farm that died left behind, put right before the new one starts to work.

An attempt without an outcome was under way when the farm died. If its job's END line stands in the spool, the
job had ended and only landing or settling was missing: that is done now, as if nothing had happened, and
landing twice changes nothing. So it is with an extract that the store holds, even if its spool is torn: the store
is durable before the ledger hears of it, spools of extracts need not be. Of a listing only the spool knows the
units. Every other attempt is lost and its job goes back to the queue.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from farm import spool
from farm.core.job import Ending, Finished, JobSpec, Launch, Limits, Outcome, Stage
from farm.ledger.ledger import Ledger
from farm.settle import Settler
from farm.telemetry import Name, log
from farm.workers.spool import End

_END = b'{"type":"END"'
_decoder = msgspec.json.Decoder(End)


@dataclass(frozen=True, slots=True)
class Salvaged:
    """A launch of the dead farm, some of whose jobs had ended."""

    launch: Launch
    finished: Finished


def recover(
    ledger: Ledger, settler: Settler, home: Path, landed: Callable[[Iterable[int]], Set[int]]
) -> list[Salvaged]:
    """Give back what was lost, clear the folders, and return what the dispatcher shall settle first.

    `landed`: those of these attempts that the store holds.
    """
    salvaged: list[Salvaged] = []
    lost: list[Ending] = []
    for launch in _open_launches(ledger):
        ended = _ended(launch, spool.path_of(home, launch.id), landed)
        lost += [
            Ending(spec.job_id, spec.attempt_id, Outcome.LOST, message="the farm died while it ran")
            for spec in launch.jobs
            if spec.job_id not in ended
        ]
        if ended:
            jobs = tuple(spec for spec in launch.jobs if spec.job_id in ended)
            finished = Finished(launch.id, -1, tuple(ended[spec.job_id] for spec in jobs), ())
            salvaged.append(Salvaged(replace(launch, jobs=jobs), finished))
    with ledger.transaction():
        settler.failed(lost)
    _clear(home, {item.launch.id for item in salvaged})
    if salvaged or lost:
        log(Name.FARM_RECOVERED, ended=sum(len(s.launch.jobs) for s in salvaged), lost=len(lost))
    return salvaged


def _open_launches(ledger: Ledger) -> Iterator[Launch]:
    """What was running, as it was launched."""
    rows = ledger.connection.execute(
        "SELECT attempt.launch_id, job.source, attempt.cpu, attempt.memory_bytes,"
        " job.id, attempt.id, job.stage, job.key, job.version, job.payload"
        " FROM attempt JOIN job ON job.id = attempt.job_id WHERE attempt.outcome IS NULL ORDER BY attempt.id"
    ).fetchall()
    launches: dict[tuple[int, str, float, int], list[JobSpec]] = defaultdict(list)
    for launch_id, source, cpu, memory_bytes, job, fence, stage, *rest in rows:
        launches[launch_id, source, cpu, memory_bytes].append(JobSpec(job, fence, Stage(stage), *rest))
    for (launch_id, source, cpu, memory_bytes), specs in launches.items():
        yield Launch(launch_id, source, "", "{}", tuple(specs), Limits(0.0, 0.0, memory_bytes), cpu)


def _ended(launch: Launch, path: Path, landed: Callable[[Iterable[int]], Set[int]]) -> dict[int, Ending]:
    """How those of its jobs ended of which that is known, by job."""
    attempts = {spec.job_id: spec.attempt_id for spec in launch.jobs}
    found = {end.job: end.ending(0) for end in _ends(path) if attempts.get(end.job) == end.attempt}
    untold = [spec for spec in launch.jobs if spec.stage is Stage.EXTRACT and spec.job_id not in found]
    held = landed(spec.attempt_id for spec in untold)
    for spec in untold:
        if spec.attempt_id in held:
            found[spec.job_id] = Ending(spec.job_id, spec.attempt_id, Outcome.SUCCEEDED, items=1)
    return found


def _ends(path: Path) -> list[End]:
    """The END lines of a spool; a torn last line is none."""
    try:
        with path.open("rb") as file:
            return [_decoder.decode(raw) for raw in file if raw.startswith(_END) and raw.endswith(b"\n")]
    except FileNotFoundError:
        return []


def _clear(home: Path, kept: set[int]) -> None:
    """Remove every spool but these, and all scratch folders and heartbeat pages."""
    keep = {spool.path_of(home, launch_id) for launch_id in kept}
    for folder in ("spool", "scratch", "beat"):
        for left in (home / folder).iterdir():
            if left in keep:
                continue
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)
