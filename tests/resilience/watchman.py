"""What must hold of a simulated farm after each step, and in the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from farm.core.breaker import CLOSED
from farm.doctor.ledger import RULES

if TYPE_CHECKING:
    from tests.resilience.simulation import Simulation

PATIENCE_S = 24 * 3600.0
"""A ready job of a source that is not paused waits less than this, as long as the farm runs and is
awake: all the work
that a seed brings takes less."""
THOROUGH_EVERY = 15

_RUNNING = (
    "SELECT launch_id, max(cpu), max(memory_bytes) FROM attempt WHERE outcome IS NULL GROUP BY launch_id"
)
_STEADILY = (
    # the tallies count the jobs
    "SELECT 'tally of run ' || run_id || ' ' || state FROM (SELECT run_id, state, count(*) AS n FROM job GROUP BY 1, 2"
    " EXCEPT SELECT run_id, state, n FROM tally)"
    # one ticket for each job that may run, leased exactly while it runs, to its one open attempt
    " UNION ALL SELECT 'ticket of job ' || job.id || ' ' || state FROM job LEFT JOIN task ON task.id = job.id"
    " WHERE state IN ('pending', 'running', 'retrying') AND"
    " (task.id IS NULL OR (lease IS NOT NULL) <> (state = 'running'))"
    " UNION ALL SELECT 'lease of job ' || task.id FROM task LEFT JOIN attempt ON attempt.id = lease"
    " WHERE lease IS NOT NULL AND (attempt.outcome IS NOT NULL OR attempt.job_id IS NOT task.id)"
    " UNION ALL SELECT 'no open attempt of job ' || job.id FROM job WHERE state = 'running'"
    " AND NOT EXISTS (SELECT 1 FROM attempt WHERE job_id = job.id AND outcome IS NULL)"
    # no two runs of a source list it at once
    " UNION ALL SELECT 'two listings of ' || source FROM job WHERE stage = 'discover' AND key = '' AND state NOT IN"
    " ('succeeded', 'cancelled') GROUP BY source HAVING count(*) > 1"
)


class Watchman:
    """One life of the farm's process; raises AssertionError."""

    def __init__(self) -> None:
        self._ready_since: dict[int, float] = {}
        self._looks = 0

    def look(self, farm: Simulation, thoroughly: bool = False) -> None:
        self._looks += 1
        broken = farm.disk.execute(_STEADILY).fetchall()
        assert not broken, broken[:5]
        if thoroughly or self._looks % THOROUGH_EVERY == 0:
            for check, sql in RULES:
                rows = farm.disk.execute(f"{sql} LIMIT 5").fetchall()
                assert not rows, f"{check}: {rows}"
        self._budget_holds(farm)
        self._nothing_starves(farm)
        self._breakers_are_kept(farm)

    def judge(self, farm: Simulation) -> None:
        """In the end: what was promised is kept, what is held is what is out there, each effect counted once."""
        for check, sql in RULES:
            rows = farm.disk.execute(f"{sql} LIMIT 5").fetchall()
            assert not rows, f"{check}: {rows}"
        left = farm.disk.execute(
            "SELECT id, source, key, state, reason FROM job WHERE state NOT IN ('succeeded', 'cancelled')"
        ).fetchall()
        assert not left, f"jobs are left: {left[:5]}"
        self._promises_are_kept(farm)
        self._the_world_is_held(farm)
        self._each_landing_counts_once(farm)
        spools = list((farm.home / "spool").iterdir())
        assert not spools, f"spools are left: {spools[:5]}"

    def _budget_holds(self, farm: Simulation) -> None:
        running = [row for row in farm.disk.execute(_RUNNING) if row[0] in farm.cells.cells]
        assert len(running) <= farm.budget.cells, "more launches than cells"
        assert sum(row[1] for row in running) <= farm.budget.cpu + 1e-6, "more cores than there are"
        assert sum(row[2] for row in running) <= farm.budget.memory_bytes, "more memory than there is"

    def _nothing_starves(self, farm: Simulation) -> None:
        ready = {
            job_id
            for job_id, lane in farm.disk.execute(
                "SELECT id, queue FROM task WHERE lease IS NULL AND due_at IS NULL"
            )
            if not farm.sources[lane].paused
        }
        now = farm.time.awake_s
        self._ready_since = {job_id: self._ready_since.get(job_id, now) for job_id in ready}
        for job_id, since in self._ready_since.items():
            if now - since > PATIENCE_S:
                why = farm.dispatcher.hold(job_id)
                assert "cannot run" in why, f"job {job_id} starves: {why}"
        if ready and self._looks % 7 == 0:
            assert farm.dispatcher.hold(min(ready)), "a job waits without a reason"

    def _breakers_are_kept(self, farm: Simulation) -> None:
        """A kill now would lose nothing that was learned of the other sides, unless the disk takes nothing."""
        if farm.dispatcher.starved:
            return
        kept = {
            name: fuse
            for name, *fuse in farm.disk.execute("SELECT source, failures, opened, until FROM fuse")
        }
        for name, source in farm.sources.items():
            fuse = source.fuse
            held = None if fuse == CLOSED else [fuse.failures, fuse.opened, fuse.until]
            assert kept.get(name) == held, f"the breaker of {name} is {held}, the ledger has {kept.get(name)}"

    def _promises_are_kept(self, farm: Simulation) -> None:
        runs = {id_ for (id_,) in farm.disk.execute("SELECT id FROM run")}
        assert farm.told.runs <= runs, f"acknowledged runs are lost: {farm.told.runs - runs}"
        jobs = set(farm.disk.execute("SELECT source, key, version FROM job WHERE stage = 'extract'"))
        assert farm.told.units <= jobs, f"acknowledged jobs are lost: {list(farm.told.units - jobs)[:5]}"
        succeeded = farm.disk.execute("SELECT id FROM attempt WHERE outcome = 'succeeded'").fetchall()
        for (attempt,) in succeeded:
            lost = farm.contents.named.get(attempt, set()) - jobs
            assert not lost, f"listed by attempt {attempt}, and never a job: {list(lost)[:5]}"

    def _the_world_is_held(self, farm: Simulation) -> None:
        discarded = set(farm.disk.execute("SELECT source, key, version FROM job WHERE reason = 'discarded'"))
        held = farm.contents.held()
        for name, units in farm.world.items():
            for key, version in units.items():
                if held.get(name, {}).get(key) != version:
                    assert (name, key, version) in discarded, (
                        f"{name} {key} is held as {held.get(name, {}).get(key)}, not {version}"
                    )
            gone = held.get(name, {}).keys() - units.keys()
            assert not gone, f"{name} holds what is gone: {gone}"

    def _each_landing_counts_once(self, farm: Simulation) -> None:
        succeeded = {
            id_ for (id_,) in farm.disk.execute("SELECT id FROM attempt WHERE outcome = 'succeeded'")
        }
        unsettled = farm.contents.landings.keys() - succeeded
        assert not unsettled, f"landed, and not settled as such: {unsettled}"
        sums = farm.disk.execute(
            "SELECT sum(documents_new), sum(documents_changed), sum(documents_deleted), sum(documents_unchanged)"
            " FROM run"
        ).fetchone()
        landed = farm.contents.landings.values()
        for name, counted in zip(("new", "changed", "deleted", "unchanged"), sums, strict=True):
            assert sum(getattr(each, name) for each in landed) == counted, f"documents {name} are miscounted"
