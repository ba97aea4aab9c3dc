"""farm.toml: what it gives, and how it says what is wrong with it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from farm.core.job import Outcome, Priority
from farm.core.retry import CLASSES, Strategy
from farm.errors import ConfigErrors
from farm.settings import Settings, SourceSettings, load, parse

HERE = Path(__file__).parent
PLAIN = "tests.support.connectors:Noop"


def settings(text: str) -> Settings:
    return parse(text, HERE / "farm.toml")


def source(text: str = "", connector: str = PLAIN) -> SourceSettings:
    return settings(f'[sources.one]\nconnector = "{connector}"\n{text}').sources["one"]


def errors(text: str) -> list[str]:
    with pytest.raises(ConfigErrors) as raised:
        settings(text)
    return raised.value.errors


def test_an_empty_file_is_a_farm_without_sources() -> None:
    found = settings("")
    assert found.sources == {}
    assert 1 <= found.farm.workers <= 8
    assert (found.farm.cpu, found.farm.memory_bytes, found.farm.grace_s) == (None, None, 10.0)


def test_the_farm_table_is_read() -> None:
    farm = settings('[farm]\nworkers = 3\ncpu = 1.5\nmemory = "4GB"\ngrace = "30s"').farm
    assert (farm.workers, farm.cpu, farm.memory_bytes, farm.grace_s) == (3, 1.5, 4_000_000_000, 30.0)


def test_memory_may_be_a_share_of_the_machine() -> None:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert settings('[farm]\nmemory = "50%"').farm.memory_bytes == pytest.approx(total / 2, abs=1)


def test_a_source_is_read() -> None:
    found = source('every = "1h30m"\npriority = "high"\nweight = 2\n[sources.one.options]\nunits = ["a"]')
    assert (found.every_s, found.cron, found.watch, found.rescan_s) == (5400.0, None, False, None)
    assert (found.priority, found.weight, found.timezone) == (Priority.HIGH, 2.0, "UTC")
    assert json.loads(found.options_json) == {"units": ["a"]}


def test_cron_goes_with_a_time_zone() -> None:
    found = source('cron = "0 7 * * 1-5"\ntimezone = "Europe/Berlin"')
    assert (found.cron, found.timezone, found.every_s) == ("0 7 * * 1-5", "Europe/Berlin", None)


def test_what_is_watched_is_listed_now_and_then_all_the_same(tmp_path: Path) -> None:
    def rescan(more: str) -> float | None:
        return source(
            f'watch = true\n{more}\n[sources.one.options]\npath = "{tmp_path}"', "local_files"
        ).rescan_s

    assert rescan("") == 900.0
    assert rescan('rescan = "1m"') == 60.0
    assert rescan('every = "1d"') == 900.0
    assert rescan('every = "5m"') is None, "every lists often enough"


def test_a_profile_is_the_default_then_the_connectors_then_the_sources() -> None:
    found = source(
        '[sources.one.options]\nargv = ["true"]\n[sources.one.profile]\ntimeout = "30s"', "command"
    )
    assert found.profile.timeout_s == 30.0, "the source's"
    assert (found.profile.stall_s, found.profile.max_concurrent) == (600.0, 2), "of command.toml"
    assert (found.profile.batch, found.profile.nice) == (1, 5), "of default.toml"


def test_a_source_that_wants_more_memory_than_its_connectors_cap_gets_it() -> None:
    profile = source('[sources.one.profile]\nmemory = "8GB"').profile
    assert profile.memory_bytes == profile.memory_max_bytes == 8_000_000_000


def test_a_cap_alone_lowers_the_reservation() -> None:
    profile = source('[sources.one.profile]\nmemory_max = "100MB"').profile
    assert profile.memory_bytes == profile.memory_max_bytes == 100_000_000


def test_a_retry_class_with_fields_of_its_own() -> None:
    retry = source('[sources.one.retry]\nclass = "fast"\nmax_attempts = 3\nstrategy = "fixed"').retry
    assert (retry.max_attempts, retry.strategy, retry.base_s) == (3, Strategy.FIXED, CLASSES["fast"].base_s)


def test_a_longer_base_is_not_cut_off_by_the_class() -> None:
    assert source('[sources.one.retry]\nclass = "fast"\nbase = "5m"').retry.max_s == 300.0


def test_one_outcome_may_be_retried_otherwise() -> None:
    retry = source('[sources.one.retry.overrides.invalid_input]\nmax_attempts = 4\nbase = "1s"').retry
    override = retry.overrides[Outcome.INVALID_INPUT]
    assert (override.max_attempts, override.base_s, override.jitter) == (4, 1.0, None)


def test_a_command_runs_in_the_folder_of_its_farm_toml() -> None:
    options = source('[sources.one.options]\nargv = ["./collect.py"]', "command").options_json
    assert json.loads(options)["cwd"] == str(HERE)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    found = errors(
        """
        [fram]
        [farm]
        workers = 99
        memory = "lots"
        grcae = 3
        [sources.a]
        conector = "command"
        [sources.b]
        connector = "comand"
        every = "15"
        cron = "0 * * *"
        timezone = "Europe/Berln"
        watch = "yes"
        priority = "hihg"
        weight = -1
        [sources.b.profile]
        memory = "256 XB"
        timout = "3s"
        [sources.b.retry]
        class = "fats"
        overrides.transient.bas = 3
        overrides.transint.base = "3s"
        [sources.c]
        connector = "command"
        watch = true
        rescan = "0s"
        [sources.c.options]
        argvs = []
        """
    )
    expected = [
        "fram: unknown table; did you mean farm?",
        "farm.workers: 99 must be",
        "farm.memory: 'lots' is not a size",
        "farm.grcae: unknown key; did you mean grace?",
        "sources.a.connector: is missing",
        "sources.a.conector: unknown key; did you mean connector?",
        "sources.b.connector: there is no connector 'comand'; did you mean command?",
        "sources.b.every: '15' is not a duration",
        "sources.b.cron: '0 * * *' is not a cron expression",
        "sources.b.cron: every and cron exclude each other",
        "sources.b.timezone: 'Europe/Berln' is no time zone",
        "sources.b.watch: ",
        "sources.b.priority: 'hihg' must be one of low, normal, high; did you mean high?",
        "sources.b.weight: -1 must be a number more than 0",
        "sources.b.profile.memory: '256 XB' is not a size",
        "sources.b.profile.timout: unknown key; did you mean timeout?",
        "sources.b.retry.class: 'fats' must be one of fast, conservative, provider_safe; did you mean fast?",
        "sources.b.retry.overrides.transient.bas: unknown key; did you mean base?",
        "sources.b.retry.overrides.transint: 'transint' must be one of",
        "sources.c.rescan: '0s' is too short",
        "sources.c.options.argv: is missing",
        "sources.c.options.argvs: unknown key; did you mean argv?",
    ]
    missing = [start for start in expected if not any(error.startswith(start) for error in found)]
    assert not missing, f"{missing} not among {found}"
    assert len(found) == len(expected), found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[farm\n", "line 1, column 6: expected ']'"),
        ("[farm]\nworkers = \n", "line 2"),
        ("[farm]\nworkers = 1\nworkers = 2\n", "line 3"),
    ],
)
def test_a_toml_mistake_is_told_with_its_line(text: str, expected: str) -> None:
    [error] = errors(text)
    assert error.startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sources = 3", "sources: must be tables"),
        ("farm = 3", "farm: must be a table"),
        ("[sources]\nx = 3", "sources.x: must be a table"),
        ('[sources."a b"]\nconnector = "tests.support.connectors:Noop"', "sources.a b: a source's name has"),
        ("[sources.x]\nconnector = 7", "sources.x.connector: "),
        (
            '[sources.x]\nconnector = "nowhere:Nothing"',
            "sources.x.connector: there is no connector 'nowhere:Nothing'",
        ),
        ('[sources.x]\nconnector = "tests.support.wait:until"', "sources.x.connector: there is no connector"),
        (
            '[sources.x]\nconnector = "command"\nwatch = true\noptions.argv = ["true"]',
            "sources.x.watch: the connector 'command' has nothing to watch",
        ),
        (
            f'[sources.x]\nconnector = "{PLAIN}"\nprofile.memory = "2GB"\nprofile.memory_max = "1GB"',
            "sources.x.profile.memory_max: must not be less than memory",
        ),
        (
            f'[sources.x]\nconnector = "{PLAIN}"\nrescan = "1m"',
            "sources.x.rescan: only goes with watch = true",
        ),
        (f'[sources.x]\nconnector = "{PLAIN}"\nevery = "10ms"', "sources.x.every: '10ms' is too short"),
        (
            f'[sources.x]\nconnector = "{PLAIN}"\ncron = "0 0 30 2 *"',
            "sources.x.cron: '0 0 30 2 *' never fires",
        ),
    ],
)
def test_a_mistake_is_one_sentence_with_its_place(text: str, expected: str) -> None:
    [error] = errors(text)
    assert error.startswith(expected)
    assert "\n" not in error


def test_a_connector_whose_library_is_missing_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lacking.py").write_text("import no_such_library_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    [error] = errors('[sources.x]\nconnector = "lacking:Lacking"')
    assert (
        error
        == "sources.x.connector: 'lacking:Lacking' cannot be loaded: No module named 'no_such_library_at_all'"
    )


def test_files_that_cannot_be_read_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b"[farm]\n# caf\xe9\n")
    for name, expected in [
        ("none.toml", "does not exist: make one with"),
        ("latin.toml", "is not UTF-8 text"),
    ]:
        with pytest.raises(ConfigErrors) as raised:
            load(tmp_path / name)
        assert expected in raised.value.errors[0]
    with pytest.raises(ConfigErrors, match="cannot be read"):
        load(tmp_path)


def test_a_source_that_left_the_file_has_the_defaults() -> None:
    left = settings("").fallback("gone")
    assert (left.name, left.every_s, left.cron, left.watch) == ("gone", None, None, False)
    assert left.profile.timeout_s == 300.0
