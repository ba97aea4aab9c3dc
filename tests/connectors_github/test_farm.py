"""The connector in a real farm: kills, outages and limits, and what its counterpart was asked."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from tests.connectors_github.gits import Work
from tests.connectors_github.hub import Asked, Hub, Reply
from tests.support.farms import Farm
from tests.support.wait import until

LOG = logging.getLogger(__name__)
SLUG = "octo/hello"
CHANGED = "SELECT count(*) FROM document WHERE title LIKE 'Changed%'"
FAST = {"class": "fast", "base": "200ms", "max_attempts": 5}


def code(hub: Hub, **table: Any) -> dict[str, Any]:
    options = {"repository": SLUG, "base_url": hub.url, **table.pop("options", {})}
    return {"connector": "github", "options": options, "retry": FAST, **table}


def keys(farm: Farm) -> set[str]:
    return {key for (key,) in farm.store("SELECT key FROM document WHERE deleted_at IS NULL")}


def test_a_first_run_killed_in_its_middle_fetches_nothing_twice(tmp_path: Path, hub: Hub) -> None:
    work = hub.repository(SLUG, {f"f{i}.md": f"# {i}\n" for i in range(100)})
    for number in range(1, 301):
        hub.issue(SLUG, number, f"Issue {number}")
    held: list[str] = []

    def stall(asked: Asked) -> Reply | None:
        if "page=3" in asked.path and not held:
            held.append(asked.path)
            time.sleep(8)
        return None

    hub.fault = stall
    with Farm(tmp_path / "home", {"code": code(hub)}) as farm:
        farm.start(drain=True)
        until(lambda: held, 30)
        farm.kill()
        assert farm.drain() == 0
        assert len(keys(farm)) == 400
        listed = [path for path in hub.api() if "/issues?" in path]
        assert len(listed) == len(set(listed)) + 1, "only the page that was never answered is asked for again"
        assert hub.fetches() == 2

        hub.forget()
        assert farm.drain() == 0
        assert hub.fetches() == 0
        assert farm.jobs()["succeeded"] == 402

        work.commit({"f1.md": "# changed\n", "f2.md": None})
        hub.forget()
        assert farm.drain() == 0
        assert hub.fetches() == 2
        assert len(keys(farm)) == 399
        assert farm.json("search", "changed")[0]["uri"].endswith("/blob/main/f1.md")
        work.git("mv", "f3.md", "renamed.md")
        work.commit()
        assert farm.drain() == 0
        assert {"renamed.md"} <= keys(farm)
        assert farm.jobs()["succeeded"] == 405, "a moved file is not read again"


def test_an_outage_and_a_limit_are_waited_for(tmp_path: Path, hub: Hub) -> None:
    hub.repository(SLUG)
    hub.issue(SLUG, 1, "One")
    refusals = [(503, {}, b""), (429, {"Retry-After": "1"}, b"{}"), (200, {}, b'[{"cut')]

    def trouble(asked: Asked) -> Reply | None:
        return refusals.pop() if refusals and "/issues?" in asked.path else None

    hub.fault = trouble
    with Farm(tmp_path / "home", {"code": code(hub)}) as farm:
        assert farm.drain() == 0
        assert keys(farm) == {"README.md", "/issues/1"}
        outcomes = [
            row[0]
            for row in farm.ledger(
                "SELECT attempt.outcome FROM attempt JOIN job ON job.id = job_id"
                " WHERE stage = 'discover' ORDER BY attempt.id"
            )
        ]
        assert outcomes == ["transient", "rate_limited", "transient", "succeeded"]
        counted = farm.ledger("SELECT number, attempts FROM job WHERE stage = 'discover'")
        assert counted == [(4, 3)], "patience costs no attempt"


def test_a_thousand_files_are_there_within_a_minute_and_ten_changes_within_seconds(
    tmp_path: Path, hub: Hub
) -> None:
    text = "lorem ipsum dolor " * 100
    work = hub.repository(SLUG, {f"d{i % 40}/f{i}.md": f"# File {i}\n\n{text}" for i in range(1000)})
    with Farm(tmp_path / "home", {"code": code(hub)}) as farm:
        began = time.monotonic()
        farm.start()
        farm.call("run", source="code", type="incremental")
        until(lambda: farm.store("SELECT count(*) FROM document") == [(1000,)], 60, every_s=0.1)
        first_s = time.monotonic() - began
        farm.until_jobs(pending=0, running=0)
        work.commit({f"d{i}/f{i}.md": f"# Changed {i}\n" for i in range(10)})
        began = time.monotonic()
        farm.call("run", source="code", type="incremental")
        until(lambda: farm.store(CHANGED) == [(10,)], 30, every_s=0.05)
        changed_s = time.monotonic() - began
        LOG.info("1,000 files in %.1f s, ten changed ones in %.2f s", first_s, changed_s)
        assert first_s < 60
        assert changed_s < 5


def test_a_source_that_is_down_or_limited_is_not_noticed_by_the_others(tmp_path: Path, hub: Hub) -> None:
    hub.repository("octo/down")
    hub.repository("octo/limited")
    plain = Work(tmp_path / "plain")
    plain.commit({"a.md": "alive"})

    def trouble(asked: Asked) -> Reply | None:
        if "/limited" in asked.path:
            return 429, {"Retry-After": "3600"}, b"{}"
        return (500, {}, b"") if "/down" in asked.path else None

    hub.fault = trouble
    base = {"base_url": hub.url}
    sources = {
        "down": code(hub, options={"repository": "octo/down"}),
        "limited": code(hub, options={"repository": "octo/limited", "content": ["issues"]}),
        "plain": {"connector": "github", "options": {"repository": str(plain.folder), **base}},
    }
    with Farm(tmp_path / "home", sources) as farm:
        farm.start()
        for name in sources:
            farm.call("run", source=name, type="incremental")
        until(lambda: farm.store("SELECT 1 FROM document WHERE text = 'alive'"), 30)
        until(lambda: farm.ledger("SELECT 1 FROM job WHERE source = 'limited' AND state = 'retrying'"), 30)


def test_the_api_is_asked_no_more_often_than_the_limits_allow(tmp_path: Path, hub: Hub) -> None:
    for slug in ("octo/one", "octo/two"):
        hub.repository(slug)
        for number in range(1, 601):
            hub.issue(slug, number, f"Issue {number}")
    asked: list[float] = []

    def note(_asked: Asked) -> None:
        asked.append(time.monotonic())

    hub.fault = note
    table = code(
        hub,
        options={"repository": ["octo/one", "octo/two"], "content": ["issues", "comments", "releases"]},
        limits={"requests_per_second": 8, "burst": 3},
    )
    with Farm(tmp_path / "home", {"code": table}) as farm:
        assert farm.drain() == 0
        assert len(keys(farm)) == 1200
    assert len(asked) == len(hub.api()) >= 16
    for first, eleventh in zip(asked, asked[10:], strict=False):
        assert eleventh - first >= (10 - 2) / 8 - 0.1, "a burst of three, then eight in a second"


def test_a_source_that_is_removed_with_its_documents_leaves_no_copy(tmp_path: Path, hub: Hub) -> None:
    hub.repository(SLUG)
    with Farm(tmp_path / "home", {"code": code(hub)}) as farm:
        assert farm.drain() == 0
        assert (farm.home / "cache" / "code").is_dir()
        assert farm.cli("sources", "remove", "code", "--purge", "--yes").returncode == 0
        assert not (farm.home / "cache" / "code").exists()
