"""A subfolder that may not be read: what else is deleted is noticed, and nothing in it is taken for deleted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.farms import Farm, like_anybody


def keys(farm: Farm) -> dict[str, set[str]]:
    """The live documents of each source."""
    found: dict[str, set[str]] = {}
    for source, key in farm.store("SELECT source, key FROM document WHERE deleted_at IS NULL"):
        found.setdefault(source, set()).add(key)
    return found


@pytest.mark.parametrize("connector", ["local_files", "obsidian"])
def test_deletions_elsewhere_are_noticed_while_a_subfolder_may_not_be_read(
    tmp_path: Path, connector: str
) -> None:
    folder = tmp_path / "folder"
    closed = folder / "closed"
    (folder / ".obsidian").mkdir(parents=True)
    closed.mkdir()
    for name in ("kept.md", "gone.md", "closed/one.md", "closed/two.md"):
        (folder / name).write_text(f"# {name}\n\n[[one]] and [[kept]]\n")
    with Farm(tmp_path / "home", {"it": {"connector": connector, "options": {"path": str(folder)}}}) as farm:
        farm.prefix = like_anybody()
        assert farm.drain() == 0
        closed.chmod(0)
        try:
            (folder / "gone.md").unlink()
            (folder / "new.md").write_text("# new\n\n[[one]]\n")
            assert farm.drain() == 0
            assert keys(farm) == {"it": {"kept.md", "new.md", "closed/one.md", "closed/two.md"}}
        finally:
            closed.chmod(0o755)
        (closed / "two.md").unlink()
        assert farm.drain() == 0
        assert keys(farm) == {"it": {"kept.md", "new.md", "closed/one.md"}}
        assert farm.cli("doctor").returncode == 0


def test_a_subfolder_that_may_not_be_read_is_told_by_the_run_and_named_by_its_listing(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    closed = folder / "closed"
    closed.mkdir(parents=True)
    (folder / "kept.md").write_text("# kept")
    closed.chmod(0)
    with Farm(
        tmp_path / "home", {"it": {"connector": "local_files", "options": {"path": str(folder)}}}
    ) as farm:
        farm.prefix = like_anybody()
        try:
            farm.start()
            line = farm.cli("run", "it", "--wait").stderr
        finally:
            closed.chmod(0o755)
        said = "1 folder could not be read (`farm jobs show 1`)"
        assert line.rstrip().endswith(f"1 new, {said}")
        (run,) = json.loads(farm.cli("runs", "--format", "json").stdout)
        assert (run["state"], run["message"]) == ("succeeded", said)
        assert said in " ".join(farm.cli("runs").stdout.split())
        job = json.loads(farm.cli("jobs", "show", "1", "--format", "json").stdout)
        assert job["state"] == "succeeded"
        assert job["message"] == "cannot look into closed: Permission denied; nothing in it counts as deleted"
        assert job["attempts"][0]["message"] == job["message"]
        assert job["message"] in farm.cli("jobs", "show", "1").stdout

        assert farm.cli("run", "it", "--wait").returncode == 0
        after = json.loads(farm.cli("runs", "--format", "json").stdout)[0]
        assert (after["state"], after["message"]) == ("succeeded", "")
