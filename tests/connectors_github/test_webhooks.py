"""A real farm that hears real deliveries: signatures, repeats, limits, and how soon a job starts."""

from __future__ import annotations

import http.client
import logging
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from farm import secrets
from farm.triggers.watch import CLOSE_S
from tests.connectors_github.hub import Hub
from tests.connectors_github.sender import Sender, issue, push
from tests.support.farms import Farm, local_files
from tests.support.wait import until

SLUG = "octo/hello"
LOG = logging.getLogger(__name__)
LAST_STARTED = (
    "SELECT attempt.started_at FROM attempt JOIN job ON job.id = job_id WHERE stage = 'discover'"
    " ORDER BY attempt.id DESC LIMIT 1"
)
SECRET = "It's a Secret to Everybody"


def hearing(home: Path, hub: Hub, **more: Any) -> Farm:
    options = {"repository": SLUG, "base_url": hub.url}
    webhooks = {"port": 0, "secrets": ["hook"], **more.pop("webhooks", {})}
    farm = Farm(home, {"code": {"connector": "github", "options": options, **more}}, webhooks=webhooks)
    secrets.put("hook", SECRET, home=home)
    return farm


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with Hub(tmp_path_factory.mktemp("hub")) as found:
        found.repository(SLUG)
        found.issue(SLUG, 1, "One")
        yield found


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, hub: Hub) -> Iterator[Farm]:
    """A farm that has had its first run; the next one is an hour away."""
    with hearing(tmp_path_factory.mktemp("farm") / "home", hub) as found:
        found.start()
        until(lambda: found.ledger("SELECT 1 FROM run WHERE finished_at IS NOT NULL"), 60)
        yield found


@pytest.fixture
def farm(running: Farm, hub: Hub) -> Farm:
    running.until_jobs(pending=0, running=0, retrying=0)
    hub.forget()
    return running


def heard(farm: Farm) -> Counter[str]:
    return Counter(farm.call("status_live")["webhooks"]["deliveries"])


def sender(farm: Farm, secret: str = SECRET) -> Sender:
    return Sender(farm.call("status_live")["webhooks"]["port"], secret)


def runs(farm: Farm) -> int:
    return int(farm.ledger("SELECT count(*) FROM run")[0][0])


def test_a_delivery_becomes_an_event_run_that_fetches_only_what_it_names(farm: Farm, hub: Hub) -> None:
    hub.issue(SLUG, 2, "Two, by webhook")
    hub.forget()
    assert sender(farm).send("issues", issue(SLUG, 2)) == (202, "accepted")
    [(type_, trigger)] = farm.ledger("SELECT type, trigger FROM run ORDER BY id DESC LIMIT 1")
    assert (type_, trigger) == ("event", "webhook"), "it is in the ledger when it is acknowledged"
    until(lambda: farm.store("SELECT 1 FROM document WHERE title = 'Two, by webhook'"), 30)
    assert hub.api() == [f"/repos/{SLUG}/issues/2"]
    high = farm.ledger("SELECT DISTINCT priority FROM job WHERE key LIKE 'event:%' OR key = '/issues/2'")
    assert high == [(2,)]
    hub.projects[SLUG].issues.pop(2)
    assert sender(farm).send("issues", issue(SLUG, 2, "deleted")) == (202, "accepted")
    until(lambda: not farm.store("SELECT 1 FROM document WHERE key = '/issues/2' AND deleted_at IS NULL"), 30)


def test_a_push_is_read_by_git(farm: Farm, hub: Hub) -> None:
    from tests.connectors_github.test_files import _at

    _at(hub.folder / f"{SLUG}.git").commit({"new.md": "# pushed just now\n", "README.md": None})
    assert sender(farm).send("push", push(SLUG)) == (202, "accepted")
    until(lambda: farm.store("SELECT 1 FROM document WHERE title = 'pushed just now'"), 30)
    until(lambda: not farm.store("SELECT 1 FROM document WHERE key = 'README.md' AND deleted_at IS NULL"), 30)


def test_what_is_refused_is_counted_and_nothing_is_queued(farm: Farm) -> None:
    before, jobs, already = runs(farm), sum(farm.jobs().values()), heard(farm)
    good, payload = sender(farm), issue(SLUG, 1)
    other = sender(farm, "another secret")
    assert other.send("issues", payload) == (401, "signature")
    for signature in (
        "",
        "sha256=",
        "sha256=" + "0" * 63,
        "sha256=" + "0" * 65,
        "sha1=" + "0" * 40,
        "sha256=" + "é" * 64,
    ):
        assert good.send("issues", payload, signature=signature) == (401, "signature")
    assert good.send("issues", payload, id_="not an id") == (400, "malformed")
    assert good.send("ISSUES; DROP", payload) == (400, "malformed")
    assert good.send("issues", b"no json") == (400, "malformed")
    assert good.send("issues", b"[1, 2]") == (400, "malformed")
    assert good.send("issues", b"[" * 100_000) == (400, "malformed")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert good.send("issues", payload, headers=form) == (415, "no JSON")
    assert good.send("issues", payload, method="GET")[0] == 405
    assert good.send("issues", payload, path="/elsewhere")[0] == 404
    good.close()
    assert _huge(good.port, declared=True) == 413
    assert _huge(good.port, declared=False) == 413
    _cut_short(good.port)
    assert good.send("ping", {"zen": "Keep it logically awesome."}) == (200, "pong")
    assert good.send("sponsorship", payload) == (202, "ignored")
    assert good.send("workflow_run", {"repository": {"full_name": SLUG}}) == (202, "ignored")
    assert good.send("issues", issue("somebody/else", 1)) == (202, "ignored")
    assert good.send("push", push(SLUG, "other-branch")) == (202, "ignored")
    assert runs(farm) == before
    assert sum(farm.jobs().values()) == jobs
    until(lambda: heard(farm)["refused: cut short"] == 1, 10)
    assert heard(farm) - already == {
        "ignored": 4,
        "pong": 1,
        "refused: cut short": 1,
        "refused: malformed": 5,
        "refused: no JSON": 1,
        "refused: signature": 7,
        "refused: too large": 2,
    }
    assert farm.json("status")["webhooks"]["deliveries"] == heard(farm)
    assert SECRET not in farm.said()


def test_a_repeat_is_acknowledged_and_does_nothing_also_after_a_kill(farm: Farm) -> None:
    first = sender(farm)
    assert first.send("issues", issue(SLUG, 1), id_="d-1") == (202, "accepted")
    farm.until_jobs(pending=0, running=0)
    before = runs(farm)
    assert first.send("issues", issue(SLUG, 1), id_="d-1") == (202, "repeated")
    farm.kill()
    farm.start()
    assert sender(farm).send("issues", issue(SLUG, 1), id_="d-1") == (202, "repeated")
    assert runs(farm) == before
    assert farm.ledger("SELECT sources FROM delivery WHERE id = 'd-1'") == [('["code"]',)]


def test_two_secrets_are_valid_while_one_takes_the_others_place(tmp_path: Path, hub: Hub) -> None:
    home = tmp_path / "home"
    with hearing(home, hub, webhooks={"secrets": ["new", "hook"]}) as farm:
        secrets.put("new", "the new one", home=home)
        farm.start()
        assert sender(farm).send("ping", {}) == (200, "pong")
        assert sender(farm, "the new one").send("ping", {}) == (200, "pong")
        assert sender(farm, "a third").send("ping", {}) == (401, "signature")
        farm.config.write_text(farm.config.read_text().replace('["new", "hook"]', '["new"]'))
        farm.call("reload")
        assert sender(farm).send("ping", {}) == (401, "signature")
        assert sender(farm, "the new one").send("ping", {}) == (200, "pong")


def test_too_many_from_one_sender_are_told_when_to_come_again(tmp_path: Path, hub: Hub) -> None:
    with hearing(tmp_path / "home", hub, webhooks={"requests_per_second": 1, "burst": 3}) as farm:
        farm.start()
        one = sender(farm)
        answers = [one.send("ping", {})[0] for _ in range(5)]
        assert answers[:3] == [200] * 3
        assert 429 in answers[3:]


def test_without_its_secret_the_farm_says_so_and_does_not_start(tmp_path: Path, hub: Hub) -> None:
    with hearing(tmp_path / "home", hub) as farm:
        secrets.drop("hook", home=farm.home)
        farm.start(ready=False)
        assert farm.wait() == 1
        assert "there is no secret 'hook'" in farm.said()
        assert not (farm.home / "ledger.db").exists(), "it was told after work had begun"


def test_a_reload_that_names_a_secret_that_is_not_there_changes_nothing(farm: Farm) -> None:
    before = farm.config.read_text()
    try:
        farm.config.write_text(before.replace('["hook"]', '["hook", "other"]').replace(SLUG, "octo/else"))
        refused = farm.cli("reload")
        assert (refused.returncode, "there is no secret 'other'" in refused.stderr) == (1, True)
        farm.config.write_text(before)
        farm.call("run", source="code")
        farm.until_jobs(pending=0, running=0, retrying=0, quarantined=0)
    finally:
        farm.config.write_text(before)


def test_a_port_that_is_taken_is_one_sentence(tmp_path: Path, hub: Hub) -> None:
    with hearing(tmp_path / "home", hub, webhooks={"port": hub.port}) as farm:
        farm.start(ready=False)
        assert farm.wait() == 1
        assert f"cannot listen on 127.0.0.1 port {hub.port}: Address already in use" in farm.said()


def test_what_watches_does_not_hold_up_a_start_that_failed(tmp_path: Path, hub: Hub) -> None:
    watched = local_files(tmp_path / "notes", watch=True)
    (tmp_path / "notes").mkdir()
    with hearing(tmp_path / "home", hub) as farm:
        webhooks = {"port": hub.port, "secrets": ["hook"]}
        farm.configure({f"notes{n}": watched for n in range(6)}, webhooks=webhooks)
        farm.start(ready=False)
        assert farm.wait(6 * CLOSE_S) == 1


def test_a_source_that_hears_webhooks_is_listed_every_hour_all_the_same(farm: Farm) -> None:
    assert farm.ledger("SELECT spec FROM schedule") == [("every 3600.0",)]


def test_a_thousand_deliveries_none_lost_and_duplicates_inert(farm: Farm, hub: Hub) -> None:
    numbers = range(1001, 2001)
    for number in numbers:
        hub.issue(SLUG, number, f"Issue {number}")
    hub.forget()
    one, began = sender(farm), time.monotonic()
    for number in numbers:
        assert one.send("issues", issue(SLUG, number), id_=f"d-{number}") == (202, "accepted")
        if number % 4 == 0:
            assert one.send("issues", issue(SLUG, number), id_=f"d-{number}") == (202, "repeated")
    took_s = time.monotonic() - began
    LOG.info("1,250 deliveries in %.1f s", took_s)
    assert took_s < 60
    count = "SELECT count(*) FROM document WHERE CAST(substr(key, 9) AS INTEGER) BETWEEN 1001 AND 2000"
    until(lambda: farm.store(count) == [(1000,)], 90, every_s=0.2)
    LOG.info("all there after %.1f s", time.monotonic() - began)
    farm.until_jobs(pending=0, running=0, retrying=0)
    assert sorted(hub.api()) == sorted(f"/repos/{SLUG}/issues/{number}" for number in numbers), (
        "each fetched once"
    )
    assert farm.ledger("SELECT count(*) FROM delivery WHERE id LIKE 'd-____'") == [(1000,)]


def test_from_delivery_to_started_job_is_quick(farm: Farm, hub: Hub) -> None:
    one, took = sender(farm), []
    for number in range(40):
        sent = time.time()
        assert one.send("issues", issue(SLUG, 1), id_=f"quick-{number}") == (202, "accepted")
        farm.until_jobs(pending=0, running=0)
        [(started,)] = farm.ledger(LAST_STARTED)
        took.append(started - sent)
    took.sort()
    LOG.info("delivery to started job: median %.0f ms, p95 %.0f ms", took[20] * 1000, took[37] * 1000)
    assert took[37] < 0.5, took  # 0.1 where nothing else runs


def _huge(port: int, *, declared: bool) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest("POST", "/github")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("X-Hub-Signature-256", "sha256=" + "0" * 64)
    if declared:
        connection.putheader("Content-Length", "99000000000")
        connection.endheaders()
    else:
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        try:
            for _ in range(30):
                connection.send(b"100000\r\n" + b"x" * 0x100000 + b"\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
    try:
        return connection.getresponse().status
    finally:
        connection.close()


def _cut_short(port: int) -> None:
    """A body that ends before the length it declared."""
    with socket.create_connection(("127.0.0.1", port)) as wire:
        wire.sendall(
            b"POST /github HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n"
            b"X-Hub-Signature-256: sha256=" + b"0" * 64 + b"\r\n\r\nshort"
        )
