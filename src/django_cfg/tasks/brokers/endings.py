"""What is left for those who wait for the result of a message that will not run again."""

from __future__ import annotations

from dramatiq.results.result import wrap_exception

from django_cfg.tasks.brokers.contract import ResultEntry

DEAD_RESULT_TTL_MS = 30 * 86_400_000


def ended_badly(reason: str, *, ttl_ms: int = DEAD_RESULT_TTL_MS) -> ResultEntry:
    """What whoever waits for the result of a dead or cancelled message gets to see."""
    return ResultEntry(wrap_exception(DeadLettered(reason)), ttl_ms)


class DeadLettered(Exception):
    """The task will not run again; its name is what `ResultFailure` shows."""
