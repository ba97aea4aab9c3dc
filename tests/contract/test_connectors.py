"""What the farm relies on, of every connector: one suite, a real source each."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from farm import registry
from farm.connector import (
    Connector,
    ConnectorError,
    Document,
    Gone,
    InvalidInput,
    Item,
    Listing,
    State,
    Unit,
    secret_names,
    secret_options,
)
from farm.core.job import JobSpec, Launch, Limits, Outcome, Stage
from farm.errors import ConfigErrors
from farm.lines import decode, encode
from farm.quantities import size
from farm.settings import parse
from farm.sqlite import open_reader
from farm.store.landing import Child, Landed, Landing
from farm.store.store import Store
from farm.workers.pool import Pool
from tests.contract.harness import BAD, GOOD, HARNESSES, Harness
from tests.support.plain_context import PlainContext
from tests.support.wait import until


class Bench:
    """One connector on its source, called as a worker calls it: a new object for each call."""

    def __init__(self, harness: Harness, folder: Path) -> None:
        self.harness, self.folder = harness, folder
        self.connector: type[Connector[Any]] = registry.load(harness.name)
        self.options = harness.build()
        self._attempts = itertools.count(1)

    def context(self, options: dict[str, Any] | None = None, **more: Any) -> PlainContext:
        model = self.connector.Options.model_validate(self.options if options is None else options)
        carried = self.connector.Options.model_validate_json(model.model_dump_json(exclude_unset=True))
        more.setdefault("secrets", self.harness.secrets)
        return PlainContext(carried, self.folder / f"scratch-{next(self._attempts)}", **more)

    def keys(self, *names: str) -> list[str]:
        return [self.harness.key(name) for name in names]

    def discover(self, **more: Any) -> list[Item]:
        return list(self.connector().discover(self.context(**more), None))

    def units(self, **more: Any) -> dict[str, Unit]:
        return {item.key: item for item in self.discover(**more) if isinstance(item, Unit)}

    def extract(self, unit: Unit, **more: Any) -> list[Item]:
        return list(self.connector().extract(self.context(**more), unit))


@pytest.fixture(params=sorted(registry.BUILT_IN))
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    harness = HARNESSES[request.param](tmp_path)
    yield Bench(harness, tmp_path)
    harness.close()


def test_every_connector_of_the_farm_has_a_harness() -> None:
    assert HARNESSES.keys() == registry.BUILT_IN.keys()


def test_wrong_options_are_told_with_their_place(bench: Bench) -> None:
    for options, where in bench.harness.wrong_options():
        with pytest.raises(ConfigErrors) as raised:
            parse(_toml(bench.harness.name, options), bench.folder / "farm.toml")
        assert any(error.startswith(f"sources.it.options.{where}") for error in raised.value.errors), (
            raised.value
        )


def test_good_options_pass_the_edge_and_say_what_can_be_watched(bench: Bench) -> None:
    settings = parse(_toml(bench.harness.name, bench.options), bench.folder / "farm.toml")
    again = bench.connector.Options.model_validate_json(settings.sources["it"].options_json)
    watched = bench.connector().watch_path(again)
    assert (watched is not None) == bench.harness.watched
    if watched is not None:
        assert bench.connector().watch_key(again, watched / bench.harness.key(GOOD[0])) in bench.units()
        assert bench.connector().watch_key(again, Path("/elsewhere/entirely.txt")) is None


def test_check_finds_nothing_wrong_with_a_good_source(bench: Bench) -> None:
    assert bench.connector().check(bench.context()) is None


def test_a_source_that_is_not_there_is_one_sentence(bench: Bench) -> None:
    options = bench.harness.unreachable()
    problem = bench.connector().check(bench.context(options))
    assert problem
    assert "\n" not in problem
    with pytest.raises(ConnectorError) as raised:
        list(bench.connector().discover(bench.context(options), None))
    assert str(raised.value) == problem


def test_discover_lists_every_unit_once_and_ends_with_its_listing(bench: Bench) -> None:
    items = bench.discover()
    keys = [item.key for item in items if isinstance(item, Unit)]
    assert sorted(keys) == sorted(bench.keys(*GOOD, BAD))
    assert all(item.version for item in items if isinstance(item, Unit))
    assert [item for item in items if isinstance(item, Listing)] == [Listing(complete=True)]
    assert isinstance(items[-1], Listing)


def test_discover_twice_finds_the_same(bench: Bench) -> None:
    assert bench.discover() == bench.discover()


def test_a_change_changes_one_version(bench: Bench) -> None:
    before, names = bench.units(), dict(zip(bench.keys(*GOOD, BAD), (*GOOD, BAD), strict=True))
    bench.harness.change("b.txt")
    after = {names.get(key, "b.txt"): unit.version for key, unit in bench.units().items()}
    assert (bench.keys("b.txt")[0] not in before) == bench.harness.replaced
    assert {names[key] for key in before} == after.keys()
    assert [name for key, name in names.items() if before[key].version != after[name]] == ["b.txt"]


def test_what_is_removed_is_not_listed_in_a_complete_listing(bench: Bench) -> None:
    [key] = bench.keys("b.txt")
    bench.harness.remove("b.txt")
    items = bench.discover()
    assert key not in {item.key for item in items if isinstance(item, Unit)}
    assert Listing(complete=True) in items


def test_asked_for_some_keys_it_claims_nothing_about_the_others(bench: Bench) -> None:
    items = bench.discover(paths=bench.keys("a.txt"))
    assert bench.keys("a.txt")[0] in {item.key for item in items if isinstance(item, Unit)}
    assert Listing(complete=True) not in items


def test_each_good_unit_gives_a_document(bench: Bench) -> None:
    units = bench.units()
    for name in GOOD:
        [key] = bench.keys(name)
        documents = [item for item in bench.extract(units[key]) if isinstance(item, Document)]
        assert [document.key for document in documents] == [key]
        assert f"what {name} says" in documents[0].text


def test_extract_twice_gives_the_same(bench: Bench) -> None:
    units = bench.units()
    for key in bench.keys(*GOOD):
        assert bench.extract(units[key]) == bench.extract(units[key])


def test_an_unreadable_unit_is_refused_alone_with_a_sentence(bench: Bench) -> None:
    units = bench.units()
    with pytest.raises(InvalidInput) as raised:
        bench.extract(units[bench.harness.key(BAD)])
    assert str(raised.value).strip()
    assert len(str(raised.value).splitlines()) == 1
    assert bench.extract(units[bench.harness.key("a.txt")]), "the others are as readable as before"


def test_a_unit_that_vanished_meanwhile_is_no_crash(bench: Bench) -> None:
    unit = bench.units()[bench.harness.key("a.txt")]
    bench.harness.remove("a.txt")
    if bench.harness.snapshot:
        [document] = bench.extract(unit)
        assert isinstance(document, Document)
        assert "what a.txt says" in document.text
        return
    try:
        items = bench.extract(unit)
    except ConnectorError:
        return
    assert not any(isinstance(item, Document) for item in items)


def test_everything_it_yields_survives_the_line(bench: Bench) -> None:
    units = bench.units()
    items = bench.discover() + [item for key in bench.keys(*GOOD) for item in bench.extract(units[key])]
    assert all(decode(encode(item).rstrip(b"\n")) == item for item in items)


def test_a_stop_ends_it_soon_and_claims_no_complete_listing(bench: Bench) -> None:
    bench.harness.grow()
    stop: list[bool] = []
    items = bench.connector().discover(bench.context(stop=lambda: bool(stop)), None)
    first = next(items)
    stop.append(True)
    began = time.monotonic()
    rest = list(items)
    assert time.monotonic() - began < 10
    assert Listing(complete=True) not in [first, *rest]


def test_nothing_is_left_behind(bench: Bench) -> None:
    """No thread, no open file, no process, also when it is not read to its end."""
    units = bench.units()
    unit = units[bench.harness.key("a.txt")]
    bench.extract(unit)
    before = _possessions()
    for _ in range(3):
        bench.discover()
        bench.extract(unit)
        items = bench.connector().discover(bench.context(), None)
        next(items)
        items.close()  # type: ignore[attr-defined]
    until(lambda: _possessions() == before, what=f"{_possessions()} is again {before}")


def test_the_whole_way_lands_the_same_twice(bench: Bench, home: Path, pool: Pool, store: Store) -> None:
    """Discover and extract in real workers, landed in a real store."""
    way = Way(bench, home, pool, store)
    discovered = way.go(Stage.DISCOVER)
    assert discovered.complete
    children = {child.key: child for child in discovered.children}
    key = bench.harness.key
    assert children.keys() == set(bench.keys(*GOOD, BAD))

    for good in bench.keys(*GOOD):
        assert way.go(Stage.EXTRACT, good, children[good].version, children[good].payload).new == 1
    bad = children[key(BAD)]
    refused = way.run(Stage.EXTRACT, bad.key, bad.version, bad.payload)
    assert refused.outcome is Outcome.INVALID_INPUT

    left = set() if bench.harness.remembers else {key(BAD)}
    assert {child.key for child in way.go(Stage.DISCOVER).children} == left, (
        "what landed is not asked for again"
    )
    for good in bench.keys(*GOOD):
        again = way.go(Stage.EXTRACT, good, children[good].version, children[good].payload)
        assert (again.new, again.changed, again.deleted) == (0, 0, 0)

    bench.harness.change("a.txt")
    bench.harness.remove("b.txt")
    third = way.go(Stage.DISCOVER)
    replaced = bench.harness.replaced
    assert _documents(store) == set(bench.keys("c.txt") if replaced else bench.keys("a.txt", "c.txt"))
    changed = {child.key: child for child in third.children}
    assert changed.keys() == {key("a.txt"), *left}
    child = changed[key("a.txt")]
    landed = way.go(Stage.EXTRACT, child.key, child.version, child.payload)
    assert (landed.new, landed.changed) == (replaced, not replaced)
    assert _documents(store) == {key("c.txt"), key("a.txt")}


def test_a_cursor_is_plain_json_and_given_back_it_finds_nothing_new(bench: Bench) -> None:
    first = bench.discover()
    states = [item.value for item in first if isinstance(item, State)]
    cursor = states[-1] if states else None
    assert json.loads(json.dumps(cursor)) == cursor
    versions = {item.key: item.version for item in first if isinstance(item, Unit)}
    second = list(bench.connector().discover(bench.context(), cursor))
    for item in second:
        if isinstance(item, Unit):
            assert versions[item.key] == item.version
    assert not any(isinstance(item, Gone) for item in second)
    if bench.harness.remembers:
        assert not any(isinstance(item, Unit) for item in second)


def test_a_listing_that_was_ended_at_any_line_is_made_anew_in_full(bench: Bench) -> None:
    """What a killed attempt found does not land: whatever it had yielded, the next one yields it again."""
    states = [item.value for item in bench.discover() if isinstance(item, State)]
    bench.harness.change("a.txt")
    bench.harness.remove("b.txt")
    for cursor in (None, *states[-1:]):
        whole = list(bench.connector().discover(bench.context(), cursor))
        for lines in range(len(whole)):
            cut = bench.connector().discover(bench.context(), cursor)
            assert len(list(itertools.islice(cut, lines))) == lines
            cut.close()  # type: ignore[attr-defined]
            assert list(bench.connector().discover(bench.context(), cursor)) == whole


def test_a_worker_killed_in_the_middle_leaves_nothing_wrong(
    bench: Bench, home: Path, pool: Pool, store: Store
) -> None:
    way = Way(bench, home, pool, store)
    for delay_s in (0.0, 0.02, 0.1):
        way.kill(Stage.DISCOVER, delay_s)
    discovered = way.go(Stage.DISCOVER)
    children = {child.key: child for child in discovered.children}
    assert children.keys() == set(bench.keys(*GOOD, BAD))
    child = children[bench.harness.key("a.txt")]
    for delay_s in (0.0, 0.02):
        way.kill(Stage.EXTRACT, delay_s, child.key, child.version, child.payload)
    assert way.go(Stage.EXTRACT, child.key, child.version, child.payload).new >= 1
    assert _documents(store) == {child.key}


def test_a_renamed_unit_is_found_under_its_new_name_only(
    bench: Bench, home: Path, pool: Pool, store: Store
) -> None:
    way = Way(bench, home, pool, store)
    for child in list(way.go(Stage.DISCOVER).children):
        way.run_and_land(child)
    [key] = bench.keys("c.txt")
    [(before,)] = _asked(store, "SELECT id FROM document WHERE key = ?", key)
    bench.harness.rename("c.txt")
    [renamed] = bench.keys("c.txt")
    children = list(way.go(Stage.DISCOVER).children)
    assert (renamed not in {child.key for child in children}) == bench.harness.follows
    for child in children:
        way.run_and_land(child)
    assert _documents(store) == set(bench.keys(*GOOD))
    [(after,)] = _asked(store, "SELECT id FROM document WHERE key = ? AND deleted_at IS NULL", renamed)
    assert (after == before) == bench.harness.follows, "it is the same document, under another name"


WITH_SECRETS = [name for name in sorted(registry.BUILT_IN) if secret_options(registry.load(name).Options)]


@pytest.mark.parametrize("bench", WITH_SECRETS, indirect=True)
def test_no_secret_is_in_anything_that_it_leaves(bench: Bench, home: Path, pool: Pool, store: Store) -> None:
    """Neither in spools, heartbeat pages, logs and process titles, nor in what an error says."""
    assert set(secret_names(bench.context().options)) == bench.harness.secrets.keys()
    values = [value.encode() for value in bench.harness.secrets.values()]
    values += [base64.b64encode(b"\0" + value).rstrip(b"=")[2:-2] for value in values]
    way = Way(bench, home, pool, store)
    children = {child.key: child for child in way.go(Stage.DISCOVER).children}
    for child in children.values():
        way.run(Stage.EXTRACT, child.key, child.version, child.payload)
    options = bench.connector.Options.model_validate(bench.harness.unreachable())
    way.options = options.model_dump_json(exclude_unset=True)
    failed = way.run(Stage.DISCOVER)
    assert failed.outcome is not Outcome.SUCCEEDED
    said = [repr(failed).encode()]
    for path in home.rglob("*"):
        if path.is_file() and path.parent.name != "secrets":
            said.append(path.read_bytes())
    for cell in pool.facts():
        said += [Path(f"/proc/{cell.pid}/{name}").read_bytes() for name in ("cmdline", "environ")]
    assert not [value for value in values if any(value in text for text in said)]


def test_a_large_input_stays_within_the_profile(bench: Bench, home: Path, pool: Pool, store: Store) -> None:
    profile = registry.profile_of(bench.harness.name)["profile"]
    most = size(profile["memory"])
    bench.harness.enlarge("a.txt", "The quick brown fox jumps over the lazy dog. " * 100_000)
    bench.harness.grow()
    way = Way(bench, home, pool, store)
    way.memory_bytes = size(profile["memory_max"])
    listed = way.run(Stage.DISCOVER)
    assert listed.outcome is Outcome.SUCCEEDED
    assert listed.usage.memory_peak_bytes < most
    unit = bench.units()[bench.harness.key("a.txt")]
    payload = json.dumps({"data": unit.data, "uri": unit.uri, "held": ""})
    read = way.run(Stage.EXTRACT, unit.key, unit.version, payload)
    assert read.outcome in (Outcome.SUCCEEDED, Outcome.INVALID_INPUT), read
    assert read.usage.memory_peak_bytes < most


def _documents(store: Store) -> set[str]:
    """Keys of what can be found."""
    return {key for (key,) in _asked(store, "SELECT key FROM document WHERE deleted_at IS NULL")}


def _asked(store: Store, sql: str, *values: str) -> list[Any]:
    with contextlib.closing(open_reader(store.path)) as db:
        return db.execute(sql, values).fetchall()


class Way:
    """Launches one job at a time in the pool and lands what it found."""

    def __init__(self, bench: Bench, home: Path, pool: Pool, store: Store) -> None:
        self.bench, self.home, self.pool, self.store = bench, home, pool, store
        self.memory_bytes = 1 << 30
        self.options = bench.connector.Options.model_validate(bench.options).model_dump_json(
            exclude_unset=True
        )

        for name, value in bench.harness.secrets.items():
            kept = home / "secrets" / name
            kept.parent.mkdir(mode=0o700, exist_ok=True)
            kept.touch(mode=0o600)
            kept.write_text(value)

    def run(self, stage: Stage, key: str = "", version: str = "", payload: str = "") -> Any:
        self._launch(stage, key, version, payload)
        [finished] = until(self.pool.poll, timeout_s=60)
        [ending] = finished.endings
        return ending

    def _launch(self, stage: Stage, key: str, version: str, payload: str) -> int:
        self.attempt = next(_attempts)
        if stage is Stage.DISCOVER:
            payload = json.dumps({"cursor": self.store.cursor("it"), "paths": None})
        job = JobSpec(self.attempt, self.attempt, stage, key, version, payload)
        limits = Limits(timeout_s=60, stall_s=60, memory_bytes=self.memory_bytes, nice=0)
        self.pool.launch(Launch(self.attempt, "it", self.bench.harness.name, self.options, (job,), limits))
        return self.attempt

    def kill(self, stage: Stage, delay_s: float, key: str = "", version: str = "", payload: str = "") -> None:
        """Start it, and have its worker killed after so long; what it found is thrown away."""
        launch = self._launch(stage, key, version, payload)
        time.sleep(delay_s)  # somewhere in the middle, wherever that is
        self.pool.kill(launch, Outcome.INTERRUPTED, "killed by the test")
        until(self.pool.poll, timeout_s=60)

    def run_and_land(self, child: Child) -> None:
        ending = self.run(Stage.EXTRACT, child.key, child.version, child.payload)
        if ending.outcome is Outcome.SUCCEEDED:
            self._land(ending, Stage.EXTRACT, child.key, child.version)

    def go(self, stage: Stage, key: str = "", version: str = "", payload: str = "") -> Landed:
        ending = self.run(stage, key, version, payload)
        assert ending.outcome is Outcome.SUCCEEDED, ending
        return self._land(ending, stage, key, version)

    def _land(self, ending: Any, stage: Stage, key: str, version: str) -> Landed:
        raw = (self.home / "spool" / f"{self.attempt}.jsonl").read_bytes()
        lines = [decode(line) for line in raw[ending.start : ending.end].splitlines()]
        [landed] = self.store.land(
            [
                Landing(
                    "it", self.attempt, self.attempt, stage, lines, key, version, started_at=ending.started_at
                )
            ]
        )
        return landed


_attempts = itertools.count(1)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("contract")


@pytest.fixture(scope="module")
def pool(home: Path) -> Iterator[Pool]:
    found = Pool(home, cells=1, instance="contract", wake=lambda: None)
    found.start()
    yield found
    found.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.db") as found:
        yield found


def test_a_line_that_a_connector_calls_rejected_is_counted_and_shown(
    tmp_path: Path, home: Path, pool: Pool, store: Store
) -> None:
    """The way of a bad line of a program: connector, worker, spool, store."""
    harness = HARNESSES["command"](tmp_path)
    bench = Bench(harness, tmp_path)
    (tmp_path / "program.py").write_text("""print('{"type":"DOCUMENT","key":"a"}\\nnonsense')""")
    bench.options = {**bench.options, "mode": "stream"}
    landed = Way(bench, home, pool, store).go(Stage.DISCOVER)
    assert (landed.new, landed.rejected) == (1, 1)
    assert landed.malformed[0].startswith("line 2: ")
    assert "nonsense" in landed.malformed[0]


def _possessions() -> tuple[int, int, int]:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return threading.active_count(), len(os.listdir("/proc/self/fd")), len(children)


def _toml(connector: str, options: dict[str, Any]) -> str:
    return tomlkit.dumps({"sources": {"it": {"connector": connector, "options": options}}})
