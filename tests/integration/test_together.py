"""Sources of every kind in one farm at once, three of them in trouble: the others do not notice."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import signal
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

from loadtest import figures
from tests.connectors_github.hub import Asked, Reply
from tests.connectors_github.sender import Sender, push
from tests.integration.town import HOOK, Town, town
from tests.support.farms import Farm
from tests.support.wait import until

LOG = logging.getLogger(__name__)
WELL = ("notes", "code", "mail", "script")
CPU, MEMORY_BYTES, CELLS = 2.0, 2_000_000_000, 4
KILLS = 8
PATIENCE_S = 1.0
"""What the API asks for when it has had enough."""
FACTOR, SLACK_S = 3.0, 3.0
"""A source counts as undisturbed when it takes no longer than so many times its time without faults, and so much."""


def test_all_at_once_one_killed_one_limited_one_down_and_the_others_do_not_notice(tmp_path: Path) -> None:
    with town(tmp_path) as made:
        made.grow()
        farm = Farm(
            tmp_path / "home",
            made.sources(),
            workers=CELLS,
            cpu=CPU,
            memory="2GB",
            webhooks={"port": 0, "secrets": ["hook"]},
        )
        made.tell_secrets(farm.home)
        with farm.start():
            all_of_them(farm, made)

            made.grow()
            calm = all_of_them(farm, made)

            made.grow()
            made.hub.forget()
            last = farm.ledger("SELECT max(id) FROM attempt")[0][0]
            trouble = Trouble(farm, made)
            disturbed = times(farm, began := run_all(farm), trouble)
            trouble.see_that_two_of_them_rest()
            trouble.deliver()
            trouble.last_until_all_have_had_enough(began)
            at_ease_again = trouble.end()
            until(lambda: not unfinished(farm, began), 40, what=f"the end of {unfinished(farm, began)}")

            LOG.info("calm %s, disturbed %s, %d kills", calm, disturbed, trouble.kills)
            for source in WELL:
                assert disturbed[source] < FACTOR * calm[source] + SLACK_S, (calm, disturbed)
            everything_is_there_once(farm, made)
            the_others_saw_nothing(farm, last)
            trouble.the_limit_cost_nothing(last)
            trouble.what_was_down_was_probed(last, at_ease_again)
            nothing_was_fetched_twice(made)
            the_budget_was_kept(farm)
            assert farm.cli("doctor").returncode == 0, farm.cli("doctor").stdout
            assert farm.stop() == 0
        assert farm.cli("doctor").returncode == 0, farm.cli("doctor").stdout
        assert not farm.processes()


# -- running


def run_all(farm: Farm) -> dict[str, int]:
    """A run of every source; its id."""
    return {
        row["name"]: farm.call("run", source=row["name"], type="incremental")["run_id"]
        for row in farm.json("sources", "list")
    }


def unfinished(farm: Farm, runs: dict[str, int]) -> list[str]:
    over = {id_ for (id_,) in farm.ledger("SELECT id FROM run WHERE finished_at IS NOT NULL")}
    return [source for source, id_ in runs.items() if id_ not in over]


def times(farm: Farm, runs: dict[str, int], trouble: Trouble | None = None) -> dict[str, float]:
    """How long each run took that nothing is wrong with, in seconds."""
    wanted = {source: id_ for source, id_ in runs.items() if trouble is None or source in WELL}
    deadline = time.monotonic() + 40
    while left := unfinished(farm, wanted):
        assert time.monotonic() < deadline, f"{left} did not end: {farm.said()}"
        if trouble is not None:
            trouble.strike()
        time.sleep(0.02)
    rows = farm.ledger("SELECT id, finished_at - requested_at FROM run")
    took = dict(rows)
    return {source: round(took[id_], 2) for source, id_ in wanted.items()}


def all_of_them(farm: Farm, made: Town) -> dict[str, float]:
    took = times(farm, run_all(farm))
    assert documents(farm) == made.expected
    return took


def documents(farm: Farm) -> dict[str, int]:
    return dict(farm.store("SELECT source, count(*) FROM document WHERE deleted_at IS NULL GROUP BY source"))


class Trouble:
    """The vault's workers are killed, the API of `issues` has had enough, the server of `box` is away."""

    def __init__(self, farm: Farm, made: Town) -> None:
        self.farm, self.made = farm, made
        self.kills = 0
        self.refused: list[float] = []
        self._ways = itertools.cycle(
            [
                (429, {"Retry-After": f"{PATIENCE_S:g}"}, b"{}"),
                (403, {"Retry-After": f"{PATIENCE_S:g}"}, b'{"message": "a secondary rate limit"}'),
            ]
        )
        made.hub.fault = self._refuse
        made.proxy.down = True
        made.proxy.cut()
        self.connections = made.proxy.connections
        self.began = time.time()

    def _refuse(self, asked: Asked) -> Reply | None:
        if not asked.path.startswith("/api/v3/repos/octo/issues"):
            return None
        self.refused.append(time.time())
        return next(self._ways)

    def strike(self) -> None:
        """Kill what reads the vault at this moment."""
        for cell in self.farm.call("status_live")["cells"]:
            if cell["source"] == "vault" and cell["pid"]:
                with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                    self._strike(cell["pid"])

    def _strike(self, pid: int) -> None:
        # A cell may be another source's by now: only of one that stands still can it be told.
        os.kill(pid, signal.SIGSTOP)
        if b"obsidian job" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
            self.kills += 1
        else:
            os.kill(pid, signal.SIGCONT)

    def last_until_all_have_had_enough(self, runs: dict[str, int]) -> None:
        """Go on until each trouble was met several times; a vault that was read in between is given more notes."""

        def enough() -> bool:
            self.strike()
            if self.kills < KILLS and not unfinished(self.farm, {"vault": runs["vault"]}):
                self.made.write_notes()
                runs["vault"] = self.farm.call("run", source="vault", type="incremental")["run_id"]
            tries = self.made.proxy.connections - self.connections
            return self.kills >= KILLS and len(self.refused) >= 3 and tries >= 3

        until(enough, 40, every_s=0.02, what=f"{KILLS} kills, refusals and tries: {vars(self)}")

    def see_that_two_of_them_rest(self) -> None:
        """`farm sources list` names them, with the time of the next try."""

        def resting() -> dict[str, Any]:
            self.strike()
            rows = {row["name"]: row for row in self.farm.json("sources", "list")}
            return rows if all(rows[s]["breaker"]["position"] == "open" for s in ("issues", "box")) else {}

        asked = time.time()
        rows = until(resting, 20, what="two sources that rest")
        for source in ("issues", "box"):
            assert rows[source]["state"] == "degraded"
            assert datetime.fromisoformat(rows[source]["next_try_at"]).timestamp() > asked
        assert rows["issues"]["breaker"]["message"].endswith("asks for patience")
        assert "dropped the connection" in rows["box"]["breaker"]["message"]
        assert {rows[source]["state"] for source in WELL} == {"active"}
        until(lambda: self.strike() or "next try" in self.farm.cli("sources", "list").stdout, 20)

    def deliver(self) -> None:
        """A push that the hub tells of arrives as ever."""
        self.made.push(3)
        sender = Sender(self.farm.call("status_live")["webhooks"]["port"], HOOK)
        assert sender.send("push", push("octo/code")) == (202, "accepted")
        sender.close()
        until(lambda: documents(self.farm)["code"] == self.made.expected["code"], 20, what="the push")

    def end(self) -> float:
        """All is well again; when."""
        self.made.hub.fault = lambda _asked: None
        self.made.proxy.down = False
        return time.time()

    # -- what must have come of it

    def the_limit_cost_nothing(self, last: int) -> None:
        rows = attempts(self.farm, "issues", last)
        assert Counter(outcome for _, outcome, _ in rows)["rate_limited"] == len(self.refused) >= 2
        assert {outcome for _, outcome, _ in rows} == {"rate_limited", "succeeded"}
        assert {counted for _, _, counted in rows} == {1}, "only the one that succeeded counts"
        gaps = [later - sooner for sooner, later in itertools.pairwise(self.refused)]
        assert min(gaps) >= PATIENCE_S - 0.1, "it was not asked before it said so"

    def what_was_down_was_probed(self, last: int, at_ease_again: float) -> None:
        rows = attempts(self.farm, "box", last)
        assert {outcome for _, outcome, _ in rows} == {"transient", "succeeded"}
        tries = [started for started, outcome, _ in rows if outcome == "transient"]
        assert 3 <= len(tries) <= (at_ease_again - self.began) / 0.4 + 3, "it is tried, not stormed"
        back = min(started for started, outcome, _ in rows if outcome == "succeeded")
        assert back - at_ease_again < 5


def attempts(farm: Farm, source: str, last: int) -> list[tuple[float, str, int]]:
    """When each attempt since then began, its outcome, and how many of its job count."""
    return farm.ledger(
        "SELECT attempt.started_at, attempt.outcome, job.attempts FROM attempt JOIN job ON job.id = job_id"
        " WHERE source = ? AND attempt.id > ? ORDER BY attempt.id",
        source,
        last,
    )


# -- what must hold of all


def everything_is_there_once(farm: Farm, made: Town) -> None:
    assert documents(farm) == made.expected
    assert farm.jobs().keys() == {"succeeded"}
    succeeded = (
        "FROM job JOIN attempt ON job.id = job_id WHERE stage = 'extract' AND attempt.outcome = 'succeeded'"
    )
    assert not farm.ledger(
        f"SELECT source, key, version {succeeded} GROUP BY source, key, version HAVING count(*) > 1"
    )


def the_others_saw_nothing(farm: Farm, last: int) -> None:
    for source in WELL:
        rows = attempts(farm, source, last)
        assert {(outcome, counted) for _, outcome, counted in rows} == {("succeeded", 1)}, source
    assert farm.ledger("SELECT DISTINCT source FROM job WHERE deaths > 0") == [("vault",)]


def nothing_was_fetched_twice(made: Town) -> None:
    assert made.asked_twice() == {"mail": [], "box": [], "script": [], "issues": []}
    assert len(made.mail.fetches()) == made.expected["mail"]
    assert len(made.box.fetches()) == made.expected["box"]
    # One commit by the run, one by the push: trees and files of each.
    assert made.hub.fetches() == 4


def the_budget_was_kept(farm: Farm) -> None:
    """Replayed from the ledger: what all launches held together at any moment."""
    rows = farm.ledger(
        "SELECT source, min(lease.at), coalesce(max(CASE WHEN wall_s > 0 THEN started_at + wall_s END),"
        " max(ended_at)), max(cpu), max(attempt.memory_bytes) FROM attempt JOIN job ON job.id = attempt.job_id"
        " JOIN (SELECT job_id, at, row_number() OVER (PARTITION BY job_id ORDER BY id) AS number"
        " FROM transition WHERE event = 'lease') AS lease"
        " ON lease.job_id = attempt.job_id AND lease.number = attempt.number GROUP BY launch_id"
    )
    most = figures.peak(figures.Span(*row) for row in rows)
    LOG.info("%d launches, at most %s", len(rows), most)
    assert most.cpu <= CPU + 1e-6
    assert most.memory_bytes <= MEMORY_BYTES
    assert 2 <= most.cells <= CELLS
