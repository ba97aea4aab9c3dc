"""Every planted bug still finds its place in the code; that each is caught, the long part shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.resilience.planted import BUGS, ROOT


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_fits_the_code(bug) -> None:  # type: ignore[no-untyped-def]
    for name, old, new in bug.edits:
        text = (ROOT / Path(name)).read_text()
        assert text.count(old) == 1, (name, old)
        compile(text.replace(old, new), name, "exec")
