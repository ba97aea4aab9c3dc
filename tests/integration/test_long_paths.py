"""A socket's path may be 107 bytes long; a folder's may not matter."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.support.farms import Farm, local_files
from tests.support.wait import until


def test_a_farm_and_its_trials_work_in_folders_with_long_paths(tmp_path: Path) -> None:
    temporary, documents = tmp_path / ("t" * 120), tmp_path / "documents"
    for folder in (temporary, documents):
        folder.mkdir()
    (documents / "a.txt").write_text("one")
    with Farm(tmp_path / ("h" * 120) / "home", {"notes": local_files(documents)}) as farm:
        farm.environment["TMPDIR"] = str(temporary)
        assert farm.json("sources", "check") == [{"source": "notes", "ok": True, "message": ""}]
        assert [row["key"] for row in farm.json("sources", "preview", "notes")] == ["a.txt"]
        assert farm.cli("profile", "measure", "notes").returncode == 0
        farm.start()
        farm.call("run", source="notes")
        until(lambda: farm.store("SELECT 1 FROM document"), 20)

        [nursery] = [pid for pid in farm.processes() if title(pid).startswith(b"farm: nursery")]
        os.kill(nursery, signal.SIGKILL)
        (documents / "b.txt").write_text("two")
        farm.call("run", source="notes")
        until(
            lambda: farm.store("SELECT count(*) FROM document") == [(2,)],
            30,
            what="work after its fork server died",
        )
        assert farm.stop() == 0
    assert list(temporary.iterdir()) == []


def title(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""
