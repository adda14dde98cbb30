"""WRITE: what operators do to tasks. Commands, pages and the service call these and nothing below."""

from __future__ import annotations

from django_cfg.tasks import queries
from django_cfg.tasks.brokers.contract import DeadFilter
from django_cfg.units import s_to_ms


def retry_failed(only: DeadFilter, *, spread_s: float = 0) -> int:
    """Give dead letters a fresh life, at random moments within `spread_s` seconds; returns how many."""
    return queries.broker().retry_dead(only, spread_ms=s_to_ms(spread_s))


def clear_failed(only: DeadFilter) -> int:
    """Delete dead letters for good; returns how many."""
    return queries.broker().clear_dead(only)


def cancel(message_id: str) -> bool:
    """Take a waiting task away; False if it is unknown or already runs."""
    return queries.broker().cancel(message_id)


def pause(queue: str) -> None:
    """Start nothing more from a queue until it is resumed."""
    queries.broker().pause(queue)


def resume(queue: str) -> None:
    """End a pause."""
    queries.broker().resume(queue)
