"""What every reader hands back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from farm.connector import Element


@dataclass(slots=True)
class Parts:
    """A document's content, before it has a key and a place."""

    text: str
    title: str = ""
    mime: str = ""
    created_at: float | None = None
    modified_at: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    elements: list[Element] = field(default_factory=list)
