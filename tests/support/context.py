"""A context for driving a connector without a farm: what a worker gives it, and what it told the worker."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farm.connector import Permanent, Unit


class Lines(logging.Handler):
    """Keeps what is logged, as text."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname.lower()}: {record.getMessage()}")


@dataclass
class Context:
    """Implements farm.connector.Context."""

    options: Any
    source: str = "test"
    scratch: Path = Path("/nonexistent")
    cache: Path = Path("/nonexistent")
    stop_requested: bool = False
    held: str = ""
    paths: list[str] | None = None
    ahead: tuple[Unit, ...] = ()
    memory_bytes: int = 1_000_000_000
    timeout_s: float = 60.0
    secrets: dict[str, str] = field(default_factory=dict)
    asked: int = 0
    """How often a connector waited for its turn to ask the other side."""
    beats: list[tuple[int, int | None, str]] = field(default_factory=list)
    handler: Lines = field(default_factory=Lines)

    @property
    def log(self) -> logging.Logger:
        logger = logging.Logger("connector", logging.DEBUG)
        logger.addHandler(self.handler)
        return logger

    @property
    def logged(self) -> str:
        return "\n".join(self.handler.lines)

    def secret(self, name: str) -> str:
        try:
            return self.secrets[name]
        except KeyError as error:
            raise Permanent(f"no secret {name}") from error

    def throttle(self) -> bool:
        self.asked += 1
        return not self.stop_requested

    def progress(self, done: int = 0, total: int | None = None, message: str = "") -> None:
        self.beats.append((done, total, message))
