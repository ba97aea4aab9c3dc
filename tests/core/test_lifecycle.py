"""The table of a job's life is whole, closed and without traps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.core.job import FINAL, TICKETED, Event, Outcome, State
from farm.core.lifecycle import TRANSITIONS, IllegalTransition, arrows, diagram, event_of, is_legal, move

STATES: list[State | None] = [None, *State]
LEGAL = set(arrows())


def test_the_table_has_a_row_for_every_state() -> None:
    assert set(TRANSITIONS) == set(STATES)


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", STATES)
def test_every_pair_either_moves_or_raises(state: State | None, event: Event) -> None:
    after = TRANSITIONS[state].get(event)
    if after is None:
        with pytest.raises(IllegalTransition) as raised:
            move(state, event)
        assert (raised.value.state, raised.value.event) == (state, event)
    else:
        assert move(state, event) is after


def test_every_event_happens_to_somebody() -> None:
    assert {event for _, event, _ in LEGAL} == set(Event)


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_ends_a_running_job_and_nothing_else(outcome: Outcome) -> None:
    event = event_of(outcome)
    assert (State.RUNNING, event) in {(state, event) for state, event, _ in LEGAL}


@pytest.mark.parametrize("state", sorted(FINAL))
def test_final_is_final(state: State) -> None:
    assert not TRANSITIONS[state]


@pytest.mark.parametrize("state", sorted(set(State) - FINAL))
def test_every_other_state_has_a_way_to_both_ends(state: State) -> None:
    reached, edge = {state}, {state}
    while edge:
        edge = {after for before in edge for after in TRANSITIONS[before].values()} - reached
        reached |= edge
    assert reached >= FINAL


def test_every_state_is_reached_from_the_first_submit() -> None:
    assert {after for _, _, after in LEGAL} == set(State)


def test_failed_is_left_by_retry_or_quarantine_only() -> None:
    assert dict(TRANSITIONS[State.FAILED]) == {
        Event.RETRY: State.RETRYING,
        Event.QUARANTINE: State.QUARANTINED,
    }


def test_only_a_lease_makes_a_job_run_and_only_of_one_with_a_ticket() -> None:
    leases = {(state, event) for state, event, after in LEGAL if after is State.RUNNING}
    assert leases == {(State.PENDING, Event.LEASE), (State.RETRYING, Event.LEASE)}
    assert {state for state, _ in leases} < TICKETED


@given(st.lists(st.sampled_from(Event), max_size=40))
def test_no_walk_leaves_the_table(events: list[Event]) -> None:
    state: State | None = None
    for event in events:
        before = state
        try:
            state = move(state, event)
        except IllegalTransition:
            assert state is before
        else:
            assert is_legal(before, event, state)


def test_a_transition_to_another_state_than_the_tables_is_illegal() -> None:
    assert is_legal(State.PENDING, Event.LEASE, State.RUNNING)
    assert not is_legal(State.PENDING, Event.LEASE, State.SUCCEEDED)
    assert not is_legal(State.SUCCEEDED, Event.LEASE, State.RUNNING)


def test_the_error_is_a_sentence() -> None:
    with pytest.raises(IllegalTransition, match="a job that is succeeded cannot time out"):
        move(State.SUCCEEDED, Event.TIME_OUT)


def test_the_diagram_shows_every_arrow() -> None:
    drawn = diagram()
    assert drawn.startswith("stateDiagram-v2\n    [*] --> pending: submit\n")
    for state, event, after in LEGAL:
        assert any(
            line.strip().startswith(f"{state or '[*]'} --> {after}: ") and event in line
            for line in drawn.split("\n")
        )
    assert drawn.count("--> [*]") == len(FINAL)
