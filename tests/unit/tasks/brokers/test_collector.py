"""Only an explicit verdict releases a message."""

from __future__ import annotations

from typing import Any

import pytest
from dramatiq import Message

from django_cfg.errors import NotSerializable
from django_cfg.tasks.brokers import codec
from django_cfg.tasks.brokers.collector import MAX_ERRORS, MAX_TRACEBACK, Collector, describe, fresh, with_error
from django_cfg.tasks.brokers.contract import Claim, Failure
from django_cfg.tasks.lifecycle import Kind

BAD = ValueError("bad")


def collector(retries: int = 0, **options: Any) -> Collector:
    message = Message("default", "task", (1,), {}, {"retries": retries, **options})
    claim = Claim(message, 1, 0, 7, 0, 0, 0.0, body=codec.encode(message))
    return Collector(claim, default_max_retries=3)


@pytest.mark.parametrize(
    ("failed", "skipped", "error", "retry", "hook_error", "kind", "reason"),
    [
        (False, False, None, False, False, Kind.DONE, ""),
        (False, True, None, False, False, Kind.DONE, ""),
        (False, False, BAD, False, False, Kind.DEAD, "no verdict"),
        (False, False, BAD, False, True, Kind.DEAD, "no verdict"),
        (True, False, BAD, False, False, Kind.DEAD, "failed: ValueError"),
        (True, True, None, False, False, Kind.DEAD, "age limit"),
        (False, False, BAD, True, False, Kind.RETRY, ""),
        (False, False, BAD, True, True, Kind.RETRY, ""),
        (True, False, BAD, True, False, Kind.RETRY, ""),
        (False, False, None, False, True, Kind.RETRY, "hook failed"),
    ],
)
def test_the_verdict(
    failed: bool, skipped: bool, error: Any, retry: bool, hook_error: bool, kind: Kind, reason: str
) -> None:
    notes = collector()
    if retry:
        notes.enqueue(notes.claim.message, 50)
    if hook_error:
        notes.hook_errors.append(OSError("hook"))
    outcome = notes.outcome(failed=failed, skipped=skipped, error=error)
    assert (outcome.kind, outcome.reason) == (kind, reason)
    assert (outcome.delay_ms > 0) is (kind is Kind.RETRY)


def test_a_hook_that_keeps_failing_ends_at_the_retry_limit() -> None:
    assert _after(OSError("hook"), retries=2).kind is Kind.RETRY
    assert _after(OSError("hook"), retries=3).kind is Kind.DEAD
    assert _after(OSError("hook"), retries=1, max_retries=1).kind is Kind.DEAD


def test_what_can_never_be_accepted_is_not_tried_again() -> None:
    assert _after(NotSerializable("no"), retries=0).kind is Kind.DEAD


def _after(error: Exception, **options: Any) -> Any:
    notes = collector(**options)
    notes.hook_errors.append(error)
    return notes.outcome(failed=False, skipped=False, error=None)


def test_follow_ups_have_the_same_ids_on_every_run_and_each_its_own() -> None:
    def ids() -> list[str]:
        notes = collector()
        first.hook = notes.hook = "Callbacks"
        fixed = notes.claim.message.copy(message_id="same")
        notes = Collector(Claim(fixed, 1, 0, 7, 0, 0, 0.0), 3)
        return [notes.enqueue(Message("default", "next", (), {}, {}), None).message_id for _ in range(2)]

    first = collector()
    assert ids() == ids()
    assert len(set(ids())) == 2


def test_a_follow_up_that_is_no_json_is_refused_to_the_hook() -> None:
    with pytest.raises(NotSerializable):
        collector().enqueue(Message("default", "next", (object(),), {}, {}), None)


def test_a_message_carries_its_last_five_bounded_errors() -> None:
    message = collector().claim.message
    for number in range(MAX_ERRORS + 3):
        message = with_error(message, Failure("ValueError", str(number), "t"))
    assert [error["text"] for error in message.options["errors"]] == ["3", "4", "5", "6", "7"]
    assert "errors" not in fresh(message).options
    assert "retries" not in fresh(message).options


def test_long_tracebacks_keep_their_innermost_frames() -> None:
    def dig(depth: int) -> None:
        if depth == 0:
            raise ValueError("x" * 10_000)
        {0: dig, 1: bury}[depth % 2](depth - 1)

    def bury(depth: int) -> None:
        dig(depth)

    with pytest.raises(ValueError, match="x") as caught:
        dig(300)
    failure = describe(caught.value)
    assert len(failure.traceback) <= MAX_TRACEBACK + 10
    assert len(failure.text) == 1000
