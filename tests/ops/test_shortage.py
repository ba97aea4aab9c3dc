"""A thread that finds no memory ends the process with a sentence, whichever way the error goes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from farm.shortage import EXIT_CODE, NO_MEMORY

PROJECT = Path(__file__).parents[2]

DEATHS = {
    "a thread of the farm's": "shortage.Thread(fail, name='x').start()",
    "a library's thread": "threading.Thread(target=fail).start()",
    "a library's thread, whose hook finds none either": (
        "threading.excepthook = lambda args: fail(); threading.Thread(target=fail).start()"
    ),
    "a library's thread, whose hooks all find none": (
        "threading.excepthook = sys.excepthook = sys.unraisablehook = lambda *args: fail();"
        " threading.Thread(target=fail).start()"
    ),
    "a library's thread, before its first step": (
        "threading.Thread._set_ident = fail; threading.Thread(target=print, daemon=True).start()"
    ),
    "a finalizer": "made = Made(); del made",
    "the main thread": "fail()",
}


@pytest.mark.parametrize("death", DEATHS)
def test_the_process_ends_with_the_sentence(death: str) -> None:
    program = f"""
import sys, threading, time
from farm import shortage

def fail(*args):
    raise MemoryError

class Made:
    def __del__(self):
        fail()

shortage.watch()
{DEATHS[death]}
time.sleep(30)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20)
    assert done.returncode == EXIT_CODE
    assert done.stderr.splitlines()[-1] == f"Error: {NO_MEMORY}"


def test_it_ends_too_where_a_library_would_keep_the_error_to_itself(tmp_path: Path) -> None:
    """What a future calls with its answer may raise what it likes: nobody hears of it."""
    program = f"""
import time
from pathlib import Path
from farm import shortage
from farm.workers.crew import Crew
from tests.workers.conftest import Bench

def fail(*args):
    raise MemoryError

for folder in ("spool", "scratch", "beat", "cache"):
    Path({str(tmp_path)!r}, folder).mkdir()
shortage.watch()
Crew._finish = fail
bench = Bench(Path({str(tmp_path)!r}), cells=1)
bench.launch("Noop", "a")
time.sleep(30)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=25, cwd=PROJECT
    )
    assert done.returncode == EXIT_CODE
    assert f"Error: {NO_MEMORY}" in done.stderr


def test_what_undoes_the_watch_leaves_other_errors_as_they_were() -> None:
    program = """
import threading
from farm import shortage

undo = shortage.watch()
threading.Thread(target=lambda: 1 / 0).start()
undo()
1 / 0
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert done.stderr.count("ZeroDivisionError: division by zero") == 2
