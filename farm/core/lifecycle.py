"""The life of a job, as one table.

The rules that the table spells out:

- A job rests in pending, retrying, quarantined or paused, and runs in running; nothing else may happen to it.
- Only running leads to an outcome, and only a lease leads to running: so every outcome has an attempt.
- Failed is passed through. The same transaction moves on to retrying (the policy grants another attempt) or
  to quarantined (it does not): `retry.after` decides which.
- Interrupted (we stopped it) and lost (the farm died) say nothing about the job: it goes straight back to
  pending. Lost too often it is treated as what it may be, a job that kills its farm: crash, then quarantine.
- Succeeded and cancelled are final. A replay is a new job.

A pair that is not in the table raises and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from farm.core.job import FAILURES, Event, Outcome, State

Table = Mapping[State | None, Mapping[Event, State]]

TRANSITIONS: Table = MappingProxyType(
    {
        None: {
            Event.SUBMIT: State.PENDING,
        },
        State.PENDING: {
            Event.LEASE: State.RUNNING,
            Event.PAUSE: State.PAUSED,
            Event.CANCEL: State.CANCELLED,
            Event.SUPERSEDE: State.CANCELLED,
        },
        State.RUNNING: {
            Event.SUCCEED: State.SUCCEEDED,
            Event.FAIL: State.FAILED,
            Event.TIME_OUT: State.FAILED,
            Event.STALL: State.FAILED,
            Event.RUN_OUT_OF_MEMORY: State.FAILED,
            Event.CRASH: State.FAILED,
            Event.INTERRUPT: State.PENDING,
            Event.LOSE: State.PENDING,
            Event.PAUSE: State.PAUSED,
            Event.CANCEL: State.CANCELLED,
        },
        State.FAILED: {
            Event.RETRY: State.RETRYING,
            Event.QUARANTINE: State.QUARANTINED,
        },
        State.RETRYING: {
            Event.LEASE: State.RUNNING,
            Event.RETRY: State.PENDING,
            Event.PAUSE: State.PAUSED,
            Event.CANCEL: State.CANCELLED,
            Event.SUPERSEDE: State.CANCELLED,
        },
        State.QUARANTINED: {
            Event.RETRY: State.PENDING,
            Event.DISCARD: State.CANCELLED,
            Event.SUPERSEDE: State.CANCELLED,
        },
        State.PAUSED: {
            Event.RESUME: State.PENDING,
            Event.CANCEL: State.CANCELLED,
            Event.SUPERSEDE: State.CANCELLED,
        },
        State.SUCCEEDED: {},
        State.CANCELLED: {},
    }
)
"""`TRANSITIONS[state][event]` is the next state; the state of a job that does not exist yet is None."""

_EVENTS: Mapping[Outcome, Event] = MappingProxyType(
    {
        Outcome.SUCCEEDED: Event.SUCCEED,
        **dict.fromkeys(FAILURES, Event.FAIL),
        Outcome.TIMED_OUT: Event.TIME_OUT,
        Outcome.STALLED: Event.STALL,
        Outcome.OUT_OF_MEMORY: Event.RUN_OUT_OF_MEMORY,
        Outcome.CRASHED: Event.CRASH,
        Outcome.CANCELLED: Event.CANCEL,
        Outcome.INTERRUPTED: Event.INTERRUPT,
        Outcome.LOST: Event.LOSE,
    }
)


class IllegalTransition(Exception):
    """This event cannot happen to a job in this state."""

    def __init__(self, state: State | None, event: Event) -> None:
        super().__init__(f"a job that is {state or 'new'} cannot {event.replace('_', ' ')}")
        self.state = state
        self.event = event


def move(state: State | None, event: Event) -> State:
    """The state that follows; raises IllegalTransition where there is none.

    >>> move(State.PENDING, Event.LEASE)
    <State.RUNNING: 'running'>
    """
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise IllegalTransition(state, event) from None


def is_legal(before: State | None, event: Event, after: State) -> bool:
    """Whether a recorded transition is one of the table's."""
    return TRANSITIONS.get(before, {}).get(event) is after


def event_of(outcome: Outcome) -> Event:
    """What an attempt that ended so does to its job."""
    return _EVENTS[outcome]


def arrows() -> Iterator[tuple[State | None, Event, State]]:
    """Every legal transition."""
    for state, row in TRANSITIONS.items():
        for event, after in row.items():
            yield state, event, after


def diagram() -> str:
    """The table as a mermaid state diagram, for the documentation."""
    labels: dict[tuple[str, str], list[str]] = {}
    for state, event, after in arrows():
        labels.setdefault((state or "[*]", after), []).append(event)
    lines = [f"    {a} --> {b}: {', '.join(events)}" for (a, b), events in labels.items()]
    ends = [f"    {state} --> [*]" for state, row in TRANSITIONS.items() if not row]
    return "\n".join(["stateDiagram-v2", *lines, *ends])
