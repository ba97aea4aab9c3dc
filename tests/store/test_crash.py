"""What a killed farm leaves in the store: whole batches, and every one that was acknowledged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from farm.store.check import check
from farm.store.search import search
from farm.store.store import Store
from tests.store.attempts import rows

LANDS_FOR_EVER = """
import sys
from itertools import count
from pathlib import Path
from farm.connector import Document
from farm.store.store import Store
from tests.store.attempts import Attempts

notes = Attempts(Store.open(Path(sys.argv[1])))
for batch in count():
    landings = [notes.extract(f"u{n}", Document(f"u{n}", f"batch{batch} " * 500)) for n in range(20)]
    print(max(landed.attempt_id for landed in notes.store.land(landings)), flush=True)
"""


def test_a_kill_leaves_whole_batches_and_all_that_were_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    writer = subprocess.Popen(
        [sys.executable, "-c", LANDS_FOR_EVER, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert writer.stdout is not None
    for _ in range(15):
        acknowledged = int(writer.stdout.readline())
    writer.kill()
    acknowledged = int((writer.stdout.read().split() or [acknowledged])[-1])
    writer.wait()
    writer.stdout.close()
    with Store.open(path) as store:
        landed = len(store.landed(range(1, 1_000_000)))
        assert landed >= acknowledged
        assert landed % 20 == 0
        last = landed // 20 - 1
        assert len(search(path, f"batch{last}", limit=100)) == 20
        assert rows(store, "SELECT count(*) FROM document") == [20]
    assert check(path, deep=True) == []
