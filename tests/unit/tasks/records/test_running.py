"""What tasks say is noted while they run, and nothing of it stays."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from dramatiq import Message

from django_cfg.tasks.brokers.contract import Claim, ClaimedMessage
from django_cfg.tasks.records import running


@pytest.fixture
def told() -> Iterator[list[None]]:
    """One entry for each task that began to be noted."""
    calls: list[None] = []
    running.listen(lambda: calls.append(None))
    yield calls
    running.listen(None)
    running.running.clear()


def claimed(message_id: str = "m") -> ClaimedMessage:
    sent: Message[object] = Message("default", "work", (), {}, {}, message_id)
    message = ClaimedMessage(Claim(sent, 1, 0, 1, 0, 0, 0.0))
    message.since = time.monotonic() - 5
    return message


def test_a_task_is_noted_with_the_moment_of_its_start_and_the_recorder_hears_of_it(told: list[None]) -> None:
    task = running.note(claimed())
    assert task is not None
    assert abs(task.began - (time.time() - 5)) < 1
    assert running.running == {"m": task}
    assert len(told) == 1


def test_nothing_is_noted_where_nobody_records() -> None:
    assert running.note(claimed()) is None
    assert running.running == {}


def test_what_a_thread_of_a_task_says_after_its_end_is_not_noted(told: list[None]) -> None:
    message = claimed()
    message.is_over = True
    assert running.note(message) is None
    assert running.running == {}


def test_a_task_that_ends_just_now_leaves_nothing(told: list[None]) -> None:
    class EndsNow(ClaimedMessage):
        """Its run ends between the two looks at it."""

        looks = 0

        @property
        def is_over(self) -> bool:  # type: ignore[override]
            self.looks += 1
            return self.looks > 1

        @is_over.setter
        def is_over(self, value: bool) -> None: ...

    assert running.note(EndsNow(claimed().claim)) is None
    assert running.running == {}
    assert told == []
