"""mode "stream": one run of the program gives everything."""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path

import pytest

from farm.connector import Document, Gone, Listing, Log, Permanent, Record, Schema, State
from tests.connectors_command.conftest import Bench


def test_what_a_program_prints_lands_in_its_order(bench: Bench) -> None:
    assert bench.discover(
        """
        print('{"type":"SCHEMA","stream":"s","schema":{"type":"object"},"key_properties":["id"]}')
        print('{"type":"RECORD","stream":"s","record":{"id":1}}')
        print('{"type":"DOCUMENT","key":"a","text":"hello","title":"A"}')
        print('{"type":"GONE","key":"b"}')
        print('{"type":"STATE","value":{"at":7}}')
        """
    ) == [
        Schema("s", {"type": "object"}, ["id"]),
        Record("s", {"id": 1}),
        Document("a", "hello", "A"),
        Gone("b"),
        State({"at": 7}),
        Listing(complete=False),
    ]


def test_any_program_will_do(bench: Bench) -> None:
    script = bench.program("""echo '{"type":"DOCUMENT","key":"a"}'""", "say.sh", "/bin/sh")
    assert bench.discover(argv=[str(script)]) == [Document("a"), Listing()]


def test_exit_0_may_mean_that_this_was_all(bench: Bench) -> None:
    code = """print('{"type":"DOCUMENT","key":"a"}')"""
    assert bench.discover(code, complete=True)[-1] == Listing(complete=True)
    assert bench.discover(code, complete=True, more={"paths": ["a"]})[-1] == Listing(complete=False)


def test_the_program_itself_may_say_whether_it_was_all(bench: Bench) -> None:
    code = """print('{"type":"LISTING","complete":true}'); print('{"type":"DOCUMENT","key":"a"}')"""
    assert bench.discover(code) == [Document("a"), Listing(complete=True)]
    code = """print('{"type":"LISTING","complete":true,"unread":["b/"]}')"""
    assert bench.discover(code) == [Listing(complete=True, unread=["b/"])]


@pytest.mark.parametrize("argument", ["{state}", "--state={state}"])
def test_the_cursor_is_given_back_as_a_file(bench: Bench, argument: str) -> None:
    code = """
        import json, os, sys
        path = sys.argv[1].removeprefix("--state=")
        assert path == os.environ["FARM_STATE"]
        print(json.dumps({"type": "STATE", "value": {"was": json.load(open(path))}}))
        """
    assert bench.discover(code, args=[argument], cursor={"at": 7})[0] == State({"was": {"at": 7}})
    assert bench.discover(code, args=[argument])[0] == State({"was": {}})


def test_secrets_reach_the_program_by_environment_and_config_file_only(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FARM_SECRET_OTHER", "not yours")
    found = bench.discover(
        """
        import json, os, sys
        config = sys.argv[1]
        said = {
            "token": os.environ["TOKEN"], "plain": os.environ["PLAIN"], "other": os.environ.get("FARM_SECRET_OTHER"),
            "config": json.load(open(config)), "mode": oct(os.stat(config).st_mode & 0o777),
            "source": os.environ["FARM_SOURCE"],
        }
        print(json.dumps({"type": "RECORD", "stream": "s", "record": said}))
        """,
        args=["{config}"],
        env={"TOKEN": "secret:github", "PLAIN": "as it is"},
        config={"auth": {"password": "secret:github"}, "days": 3},
        more={"secrets": {"github": "s3cret"}},
    )
    assert isinstance(found[0], Record)
    assert found[0].record == {
        "token": "s3cret",
        "plain": "as it is",
        "other": None,
        "config": {"auth": {"password": "s3cret"}, "days": 3},
        "mode": "0o600",
        "source": "test",
    }


def test_a_secret_that_is_not_there_is_told_before_anything_runs(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="secret"):
        bench.discover(f"open({str(tmp_path / 'ran')!r}, 'w')", env={"TOKEN": "secret:github"})
    assert not (tmp_path / "ran").exists()


def test_it_runs_where_it_is_told_to(bench: Bench, tmp_path: Path) -> None:
    where = tmp_path / "where"
    where.mkdir()
    code = """
        import json, os
        print(json.dumps({"type": "DOCUMENT", "key": os.getcwd()}))
        """
    assert bench.discover(code, cwd=where)[0] == Document(str(where))


def test_its_standard_input_is_empty(bench: Bench) -> None:
    code = """import sys; print('{"type":"DOCUMENT","key":"%d"}' % len(sys.stdin.read()))"""
    assert bench.discover(code)[0] == Document("0")


def test_bad_lines_are_shown_with_their_number_and_the_good_ones_land(bench: Bench) -> None:
    found = bench.discover(
        r"""
        import sys
        print('{"type":"DOCUMENT","key":"a"}')
        print("Traceback (most recent call last):")
        print()
        print('{"type":"DOCUMENT"}')
        print('{"type":"DOCUMENT","key":""}')
        print('{"type":"NONSENSE"}')
        print('{"type":"UNIT","key":"u","version":"1"}')
        print('{"type":"RECORD","stream":"s","record":{"x":NaN}}')
        sys.stdout.flush()
        sys.stdout.buffer.write(b'{"type":"DOCUMENT","key":"\xff\xfe"}\r\n{"type":"DOCUMENT","key":"b"}\r\n')
        sys.stdout.buffer.write(b'{"type":"DOCUMENT","key":"c"}')
        """
    )
    assert [item for item in found if isinstance(item, Document)] == [
        Document("a"),
        Document("b"),
        Document("c"),
    ]
    rejected = [item.message for item in found if isinstance(item, Log) and item.level == "rejected"]
    assert [line.split(":")[0] for line in rejected] == [f"line {n}" for n in (2, 4, 5, 6, 7, 8, 9)]
    assert "Traceback (most recent" in rejected[0]
    assert "`key`" in rejected[1]
    assert rejected[2] == "line 5: DOCUMENT without a key"
    assert "NONSENSE" in rejected[3]
    assert rejected[4] == 'line 7: UNIT does not belong into mode "stream"'


def test_a_program_that_speaks_another_language_is_an_error(bench: Bench) -> None:
    with pytest.raises(Permanent, match=r"printed 3 lines and none could be used; line 1: .*total 8"):
        bench.discover("print('total 8\\na\\nb')")


def test_a_program_that_has_nothing_to_say_is_fine(bench: Bench) -> None:
    assert bench.discover("") == [Listing()]


def test_an_endless_line_is_rejected_without_being_held(bench: Bench) -> None:
    import tracemalloc

    tracemalloc.start()
    found = bench.discover(
        """
        import sys
        print('{"type":"DOCUMENT","key":"a"}')
        for _ in range(400): sys.stdout.write("x" * 100_000)
        print()
        print('{"type":"DOCUMENT","key":"b"}')
        """,
        more={"memory_bytes": 16 * 1024 * 1024},
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found[0] == Document("a")
    assert found[1] == Log(level="rejected", message="line 2: longer than the limit (40000000 bytes)")
    assert found[2] == Document("b")
    assert peak < 12 * 1024 * 1024


def test_standard_error_is_the_jobs_log_and_a_full_pipe_blocks_nobody(bench: Bench) -> None:
    found = bench.discover(
        """
        import sys
        for i in range(2000):
            print("x" * 200, file=sys.stderr)
        sys.stderr.flush()
        print('{"type":"DOCUMENT","key":"a"}')
        """
    )
    assert found == [Document("a"), Listing()]
    assert bench.ctx.handler.lines == ["info: " + "x" * 200] * 2000


def test_a_log_line_goes_to_the_log_and_a_progress_line_shows_progress(bench: Bench) -> None:
    found = bench.discover(
        """
        print('{"type":"LOG","message":"half way","level":"warning"}')
        print('{"type":"PROGRESS","done":5,"total":10,"message":"pages"}', flush=True)
        """
    )
    assert found == [Listing()]
    assert bench.ctx.handler.lines == ["warning: half way"]
    assert (5, 10, "pages") in bench.ctx.beats


def test_any_output_is_a_sign_of_life_and_keeps_the_figures(bench: Bench) -> None:
    bench.discover(
        """
        import sys, time
        print('{"type":"PROGRESS","done":5,"total":10}', flush=True)
        for _ in range(3):
            time.sleep(0.05)
            print("still here", file=sys.stderr, flush=True)
        """
    )
    assert bench.ctx.beats.count((5, 10, "")) >= 3


def test_the_workers_limit_on_its_own_data_is_not_the_programs(bench: Bench) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (4 << 30, hard))
    try:
        found = bench.discover(
            """
            import json, resource, time
            time.sleep(0.1)
            print(json.dumps({"type": "DOCUMENT", "key": str(resource.getrlimit(resource.RLIMIT_DATA)[0])}))
            """
        )
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    assert found[0] == Document(str(hard))


def test_lines_come_while_the_program_still_runs(bench: Bench) -> None:
    lines = bench.iterate(
        """
        import time
        print('{"type":"DOCUMENT","key":"a"}', flush=True)
        time.sleep(30)
        """
    )
    began = time.monotonic()
    assert next(lines) == Document("a")
    lines.close()  # type: ignore[attr-defined]
    assert time.monotonic() - began < 10


def test_many_lines_come_fast(bench: Bench) -> None:
    began = time.monotonic()
    found = bench.discover(
        """
        import sys
        line = '{"type":"RECORD","stream":"s","record":{"id":%d,"name":"somebody","size":1.5}}\\n'
        for i in range(200_000): sys.stdout.write(line % i)
        """
    )
    took_s = time.monotonic() - began
    assert len(found) == 200_001
    assert took_s < 15, f"{200_000 / took_s:.0f} lines/s"


def test_the_options_say_what_they_lack() -> None:
    from pydantic import ValidationError

    from connectors.command import Command

    for options in ({}, {"argv": []}, {"argv": [" "]}, {"argv": ["a"], "mode": "other"}, {"argv": "a b"}):
        with pytest.raises(ValidationError):
            Command.Options.model_validate(options)


def test_options_survive_the_way_to_the_worker(tmp_path: Path) -> None:
    from connectors.command import Command

    given = {"argv": ["./a", "{state}"], "env": {"A": "secret:b"}, "config": {"x": [1]}, "complete": True}
    options = Command.Options.model_validate(given, context={"folder": tmp_path})
    again = Command.Options.model_validate_json(options.model_dump_json(exclude_unset=True))
    assert again == options
    assert again.cwd == tmp_path
    assert json.loads(options.model_dump_json())["argv"] == ["./a", "{state}"]
