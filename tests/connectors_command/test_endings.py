"""How a program ends, and what that means: exit status, signal, stop, children left behind."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from connectors import command
from connectors._exits import ending
from connectors.command import Command
from farm.connector import (
    ConnectorError,
    Document,
    InvalidInput,
    Listing,
    Permanent,
    SourceUnavailable,
    Transient,
)
from tests.connectors_command.conftest import Bench, lives
from tests.support.wait import until

FOREVER = """
    import os, signal, subprocess, sys, time
    if "deaf" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(["sleep", "1000"])
    print('{"type":"DOCUMENT","key":"%d"}' % child.pid, flush=True)
    while True:
        time.sleep(0.05)
        print('{"type":"DOCUMENT","key":"more"}', flush=True)
    """


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (1, Transient),
        (2, Transient),
        (64, Permanent),
        (65, InvalidInput),
        (69, SourceUnavailable),
        (75, Transient),
        (77, Permanent),
        (78, Permanent),
        (126, Permanent),
        (127, Permanent),
    ],
)
def test_an_exit_status_has_a_meaning(bench: Bench, status: int, error: type[ConnectorError]) -> None:
    with pytest.raises(ConnectorError, match=f"program.py exited with status {status}") as raised:
        bench.discover(f"import sys; sys.exit({status})")
    assert type(raised.value) is error


def test_no_input_is_the_units_fault_in_extract_only() -> None:
    assert ending(66, "extract")[0] is InvalidInput
    assert ending(66, "discover")[0] is Permanent


def test_the_last_words_of_a_program_are_in_the_message(bench: Bench) -> None:
    with pytest.raises(Transient) as raised:
        bench.discover(
            """
            import sys
            for i in range(50): print(f"step {i}", file=sys.stderr)
            print("the server said no", file=sys.stderr)
            sys.exit(75)
            """
        )
    assert str(raised.value) == (
        "program.py exited with status 75 (temporary failure): step 48 / step 49 / the server said no"
    )


def test_a_signal_is_named(bench: Bench) -> None:
    with pytest.raises(Transient, match=r"^program.py was killed by SIGSEGV$"):
        bench.discover("import os; os.kill(os.getpid(), 11)")
    with pytest.raises(Transient, match=r"status 137 \(killed by SIGKILL\)"):
        bench.discover("import sys; sys.exit(137)")


def test_what_came_before_a_failure_was_yielded_and_nothing_is_called_complete(bench: Bench) -> None:
    found = []
    with pytest.raises(Transient):
        for item in bench.iterate("""print('{"type":"DOCUMENT","key":"a"}'); exit(1)""", complete=True):
            found.append(item)
    assert found == [Document("a")]


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["no-such-program-here"], "there is no program 'no-such-program-here' in PATH"),
        (["/no/such/program"], "there is no program /no/such/program"),
        (["./not-here"], "not-here"),
        (["/etc/passwd"], "/etc/passwd is not executable"),
    ],
)
def test_a_program_that_is_not_there_is_one_sentence(bench: Bench, argv: list[str], expected: str) -> None:
    problem = Command().check(bench.context(argv=argv))  # type: ignore[arg-type]
    assert problem is not None
    assert expected in problem
    with pytest.raises(Permanent) as raised:
        bench.discover(argv=argv)
    assert str(raised.value) == problem


def test_a_folder_that_is_not_there_is_one_sentence(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(Permanent, match=r"the folder .*/gone \(cwd\) does not exist"):
        bench.discover(argv=["true"], cwd=tmp_path / "gone")


def test_a_script_without_an_interpreter_is_one_sentence(bench: Bench, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("neither binary nor with a first line")
    script.chmod(0o755)
    with pytest.raises(Permanent, match=r"script cannot be started: Exec format error"):
        bench.discover(argv=[str(script)])


def test_a_program_that_is_there_passes_the_check(bench: Bench) -> None:
    assert Command().check(bench.context("")) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("args", [[], ["deaf"]])
def test_a_stop_ends_the_program_and_its_children(
    bench: Bench, args: list[str], monkeypatch: pytest.MonkeyPatch, no_children_left: None
) -> None:
    monkeypatch.setattr(command, "GRACE_S", 0.5)
    stop: list[bool] = []
    items = Command().discover(
        bench.context(FOREVER, args=args, complete=True, more={"stop": lambda: bool(stop)}),  # type: ignore[arg-type]
        None,
    )
    child = next(items)
    assert isinstance(child, Document)
    stop.append(True)
    began = time.monotonic()
    rest = list(items)
    assert time.monotonic() - began < 8
    assert all(isinstance(item, Document) for item in rest), "it did not get to its end: no listing"
    until(lambda: not lives(int(child.key)), what="its child is gone")


def test_an_early_end_of_reading_kills_the_program_and_its_children(
    bench: Bench, no_children_left: None
) -> None:
    items = bench.iterate(FOREVER)
    child = next(items)
    assert isinstance(child, Document)
    items.close()  # type: ignore[attr-defined]
    until(lambda: not lives(int(child.key)), what="its child is gone")


def test_a_child_that_keeps_the_pipe_open_does_not_keep_the_job(
    bench: Bench, no_children_left: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors._program.LINGER_S", 0.3)
    began = time.monotonic()
    found = bench.discover(
        """
        import subprocess
        child = subprocess.Popen(["sleep", "1000"])
        print('{"type":"DOCUMENT","key":"%d"}' % child.pid)
        """
    )
    assert time.monotonic() - began < 15
    assert isinstance(found[0], Document)
    assert found[1] == Listing()
    until(lambda: not lives(int(found[0].key)), what="its child is gone")


def test_a_slow_reader_loses_nothing_of_a_program_that_is_long_over(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors._program.LINGER_S", 0.2)
    items = bench.iterate("""for i in range(3000): print('{"type":"DOCUMENT","key":"%d"}' % i)""")
    found = [next(items)]
    time.sleep(0.6)  # the reader is busy elsewhere, longer than the program may be silent
    found += items
    assert len(found) == 3001


def test_a_program_that_closes_its_output_is_waited_for(bench: Bench) -> None:
    with pytest.raises(Transient, match="status 3"):
        bench.discover(
            """
            import os, time
            os.close(1); os.close(2)
            time.sleep(0.3)
            os._exit(3)
            """
        )


def test_the_signal_numbers_are_those_of_this_system() -> None:
    assert ending(-signal.SIGTERM)[1] == "was killed by SIGTERM"
    assert ending(-62)[1].startswith("was killed by signal 62")
