"""States move along the arrows only."""

from __future__ import annotations

import pytest

from django_cfg.tasks.lifecycle import AFTER, FINAL, TRANSITIONS, Kind, State, may_follow


@pytest.mark.parametrize("kind", Kind)
def test_every_end_of_a_claim_is_a_legal_way_from_running(kind: Kind) -> None:
    assert may_follow(State.RUNNING, AFTER[kind])


@pytest.mark.parametrize("state", State)
def test_every_state_has_its_arrows_and_none_to_itself(state: State) -> None:
    assert state in TRANSITIONS
    assert not may_follow(state, state)


def test_only_a_running_task_completes_and_only_a_pending_one_runs() -> None:
    assert [s for s in State if may_follow(s, State.COMPLETED)] == [State.RUNNING]
    assert [s for s in State if may_follow(s, State.RUNNING)] == [State.PENDING]


def test_from_every_state_a_final_one_can_be_reached_and_only_operators_leave_it() -> None:
    def reachable(state: State, seen: frozenset[State] = frozenset()) -> frozenset[State]:
        new = TRANSITIONS[state] - seen
        return seen | new | frozenset(s for n in new for s in reachable(n, seen | new))

    assert all(state in FINAL or reachable(state) & FINAL for state in State)
    assert {state: set(TRANSITIONS[state]) for state in FINAL} == {
        State.COMPLETED: set(),
        State.CANCELLED: set(),
        State.DEAD_LETTER: {State.PENDING},
    }
