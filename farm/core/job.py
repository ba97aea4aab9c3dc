"""The words of the work: states, events, outcomes, and the values that travel between the steps."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

import msgspec


class State(StrEnum):
    """Where a job rests. FAILED is passed through, never rested in."""

    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    QUARANTINED = "quarantined"
    PAUSED = "paused"
    FAILED = "failed"
    SUCCEEDED = "succeeded"
    CANCELLED = "cancelled"


FINAL = frozenset({State.SUCCEEDED, State.CANCELLED})
TICKETED = frozenset({State.PENDING, State.RUNNING, State.RETRYING})
"""A job in one of these states has exactly one ticket in the queue; in any other it has none."""


class Event(StrEnum):
    """What moves a job from one state to the next."""

    SUBMIT = "submit"
    LEASE = "lease"
    SUCCEED = "succeed"
    FAIL = "fail"
    TIME_OUT = "time_out"
    STALL = "stall"
    RUN_OUT_OF_MEMORY = "run_out_of_memory"
    CRASH = "crash"
    INTERRUPT = "interrupt"
    LOSE = "lose"
    RETRY = "retry"
    QUARANTINE = "quarantine"
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    DISCARD = "discard"
    SUPERSEDE = "supersede"


class Outcome(StrEnum):
    """How one attempt ended."""

    SUCCEEDED = "succeeded"
    TRANSIENT = "transient"
    RATE_LIMITED = "rate_limited"
    PERMANENT = "permanent"
    INVALID_INPUT = "invalid_input"
    DEPENDENCY = "dependency"
    TIMED_OUT = "timed_out"
    STALLED = "stalled"
    OUT_OF_MEMORY = "out_of_memory"
    CRASHED = "crashed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    LOST = "lost"


FAILURES = frozenset(
    {Outcome.TRANSIENT, Outcome.RATE_LIMITED, Outcome.PERMANENT, Outcome.INVALID_INPUT, Outcome.DEPENDENCY}
)
"""Outcomes that the connector itself reported by raising."""

DEATHS = frozenset({Outcome.CRASHED, Outcome.OUT_OF_MEMORY, Outcome.STALLED, Outcome.TIMED_OUT})
"""Outcomes that may cost the worker process its life."""


class Reason(StrEnum):
    """Why a job is in quarantine."""

    PARSE_ERROR = "parse_error"
    PERMISSION_DENIED = "permission_denied"
    RESOURCE_EXHAUSTED = "resource_exhausted"
    CONNECTOR_ERROR = "connector_error"
    TIMEOUT = "timeout"
    DEPENDENCY_FAILURE = "dependency_failure"
    RATE_LIMITED = "rate_limited"
    WORKER_CRASHED = "worker_crashed"
    INVALID_STATE = "invalid_state"
    UNKNOWN = "unknown"


class Stage(StrEnum):
    """DISCOVER lists a source (and may land content at once); EXTRACT reads one unit."""

    DISCOVER = "discover"
    EXTRACT = "extract"


class Priority(IntEnum):
    LOW = 0
    NORMAL = 1
    HIGH = 2


class RunType(StrEnum):
    FULL = "full"
    INCREMENTAL = "incremental"
    REPLAY = "replay"
    BACKFILL = "backfill"
    EVENT = "event"


class RunState(StrEnum):
    DRAFT = "draft"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Usage(msgspec.Struct, frozen=True, gc=False):
    """What one attempt used, as measured in and around its worker."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    memory_peak_bytes: int = 0


class Evidence(msgspec.Struct, frozen=True):
    """What is kept of an attempt that failed, redacted and bounded."""

    traceback: str = ""
    log: str = ""
    versions: str = ""


class JobSpec(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One job as its worker sees it. `attempt_id` is the fence: it only ever grows."""

    job_id: int
    attempt_id: int
    stage: Stage
    key: str = ""
    version: str = ""
    payload: str = "null"
    """JSON: for EXTRACT the unit's `data`; for DISCOVER `{"cursor": …, "paths": [...] | null}`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one job of a launch may take."""

    timeout_s: float
    stall_s: float
    memory_bytes: int
    """Hard cap on the resident memory of the worker's whole tree."""
    nice: int = 5
    requests_per_s: float = 0.0
    """How often the source may be asked, all its jobs together; 0: as often as they like."""
    burst: int = 1


@dataclass(frozen=True, slots=True)
class Launch:
    """What one cell is given at a time: 1..n jobs of one source. `id` is its first attempt's id."""

    id: int
    source: str
    connector: str
    options: str
    """The source's options as JSON, validated before."""
    jobs: tuple[JobSpec, ...]
    limits: Limits
    cpu: float = 1.0


class Ending(msgspec.Struct, frozen=True, gc=False):
    """How one job of a launch ended; `start`/`end` are byte offsets of its lines in the launch's spool."""

    job_id: int
    attempt_id: int
    outcome: Outcome
    message: str = ""
    reason: Reason | None = None
    retry_after_s: float | None = None
    started_at: float = 0.0
    """Unix time, seconds."""
    usage: Usage = Usage()
    start: int = 0
    end: int = 0
    items: int = 0
    """Content lines between start and end; 0 means there is nothing to land."""
    pid: int = 0
    exit: int | None = None
    signal: int | None = None
    evidence: Evidence | None = None
    unavailable: bool = False
    """TRANSIENT: the connector said that the other side is out of reach."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A launch that is over: what ended, and which jobs of it were never started (they go back unharmed)."""

    launch_id: int
    cell: int
    endings: tuple[Ending, ...]
    unstarted: tuple[int, ...]
    """Job ids."""
