"""Laws of running tasks: results, retries, errors."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from dramatiq.results import ResultMissing, ResultTimeout

from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import (
    DeadFilter,
)
from django_cfg.testing.contracts.tools import (
    PATIENCE_MS,
    Failing,
    declare,
    expect_failure,
    needs,
    working,
)


class RunningLaws:
    """Laws of running tasks: results, retries, errors."""

    def test_a_result_comes_back(self, broker: EngineBroker) -> None:
        add = declare(lambda a, b: a + b, actor_name="add")
        with working(broker):
            assert add.send(1, 2).get_result(block=True, timeout=PATIENCE_MS) == 3

    def test_a_task_that_returns_nothing_has_the_result_none(self, broker: EngineBroker) -> None:
        needs(broker.supports_find, "it cannot say that a message is gone, and None stores no result")
        nothing = declare(lambda: None, actor_name="nothing")
        with working(broker):
            assert nothing.send().get_result(block=True, timeout=PATIENCE_MS) is None

    def test_a_result_that_is_not_there_yet_is_missing_or_times_out(self, broker: EngineBroker) -> None:
        nothing = declare(lambda: None, actor_name="nothing")
        sent = nothing.send()
        looks: list[tuple[type[Exception], Callable[[], Any]]] = [
            (ResultMissing, lambda: sent.get_result()),
            (ResultTimeout, lambda: sent.get_result(block=True, timeout=50)),
        ]
        for error, call in looks:
            try:
                call()
            except error:
                continue
            raise AssertionError(f"expected {error.__name__}")

    def test_a_failing_task_is_retried_after_its_backoff_until_it_succeeds(self, broker: EngineBroker) -> None:
        runs: list[float] = []

        def flaky() -> str:
            runs.append(time.monotonic())
            if len(runs) < 3:
                raise Failing(f"run {len(runs)}")
            return "at last"

        actor = declare(flaky, min_backoff=150, max_backoff=150)
        with working(broker):
            assert actor.send().get_result(block=True, timeout=PATIENCE_MS) == "at last"
        waits = [later - earlier for earlier, later in pairwise(runs)]
        assert len(runs) == 3
        assert min(waits) >= 0.075  # Dramatiq's jitter: half to all of max_backoff

    def test_a_task_without_retries_left_is_a_dead_letter_with_every_traceback(self, broker: EngineBroker) -> None:
        def hopeless() -> None:
            raise Failing("no way")

        actor = declare(hopeless, max_retries=1)
        with working(broker):
            expect_failure(actor.send(), "no way")
        (letter,) = broker.dead_letters(DeadFilter(everything=True))
        assert (letter.reason, letter.attempts) == ("failed: Failing", 2)
        assert letter.message is not None
        assert [e["text"] for e in letter.message.options["errors"]] == ["no way", "no way"]

    def test_the_configured_number_of_retries_holds_for_a_task_that_names_none(self, broker: EngineBroker) -> None:
        runs: list[int] = []

        def hopeless() -> None:
            runs.append(1)
            raise Failing("no way")

        actor = declare(hopeless)
        with working(broker):
            expect_failure(actor.send(), "no way")
        assert len(runs) == broker.settings.max_retries + 1

    def test_an_expected_error_is_not_retried(self, broker: EngineBroker) -> None:
        runs: list[int] = []

        def strict() -> None:
            runs.append(1)
            raise Failing("bad input")

        actor = declare(strict, throws=(Failing,))
        with working(broker):
            expect_failure(actor.send(), "bad input")
        assert len(runs) == 1

    def test_even_a_system_exit_ends_only_its_task(self, broker: EngineBroker) -> None:
        def leave() -> None:
            raise SystemExit(3)

        actor = declare(leave, max_retries=0)
        add = declare(lambda a: a, actor_name="echo")
        with working(broker, threads=1):
            expect_failure(actor.send(), "3")
            assert add.send(5).get_result(block=True, timeout=PATIENCE_MS) == 5
