"""Imported by the fork server, once, so that every worker is born with the farm's own modules loaded.

It leads a session of its own: what a terminal sends to the farm's group (Ctrl-C, hang-up) is the farm's to
handle, and must not take its workers away while it drains.
"""

from __future__ import annotations

import contextlib
import gc
import os

from setproctitle import setproctitle

import farm.registry
import farm.workers.cell
import farm.workers.worker  # noqa: F401

with contextlib.suppress(PermissionError):
    os.setsid()
setproctitle("farm: nursery")
gc.collect()
gc.freeze()
