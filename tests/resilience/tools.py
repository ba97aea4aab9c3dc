"""Programs that the tests need and a machine may lack."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest


def needs(program: str, package: str = "") -> None:
    """Have it installed where we may; else skip, but never in CI: a missing component is a failure there."""
    if shutil.which(program) is None and os.geteuid() == 0 and shutil.which("apt-get"):
        install = ["apt-get", "install", "-y", "-qq", package or program]
        subprocess.run(install, capture_output=True, check=False, timeout=100)
    if shutil.which(program) is None:
        why = f"{program} is not installed: apt install {package or program}"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
