"""A source tried out without consequences: is it reachable, what would land, what do its jobs need.

Everything runs in a real cell of a farm's pool, in a state folder that is thrown away: a connector that hangs,
crashes or takes too much harms its trial only, and ends by its own profile's limits.
"""

from __future__ import annotations

from farm.trial.check import check
from farm.trial.measure import measure
from farm.trial.preview import preview

__all__ = ["check", "measure", "preview"]
