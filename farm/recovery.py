"""Recovery: what a farm that died left behind, put right before the new one starts to work.

An attempt without an outcome was under way when the farm died. If its job's END line stands in the spool, the
job had ended and only landing or settling was missing: that is done now, as if nothing had happened, and
landing twice changes nothing. Else the attempt is lost and its job goes back to the queue.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterator
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


def recover(ledger: Ledger, settler: Settler, home: Path) -> list[Salvaged]:
    """Give back what was lost, clear the folders, and return what the dispatcher shall settle first."""
    salvaged: list[Salvaged] = []
    lost: list[Ending] = []
    for launch in _open_launches(ledger):
        ends = {end.job: end for end in _ends(spool.path_of(home, launch.id))}
        done: list[JobSpec] = []
        gone: list[JobSpec] = []
        for spec in launch.jobs:
            end = ends.get(spec.job_id)
            (done if end is not None and end.attempt == spec.attempt_id else gone).append(spec)
        lost += [
            Ending(spec.job_id, spec.attempt_id, Outcome.LOST, message="the farm died while it ran")
            for spec in gone
        ]
        if done:
            endings = tuple(ends[spec.job_id].ending(0) for spec in done)
            finished = Finished(launch.id, -1, endings, ())
            salvaged.append(Salvaged(replace(launch, jobs=tuple(done)), finished))
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
