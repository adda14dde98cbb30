"""Running tasks that an operator asked to stop. A task looks by itself: nothing is thrown into it."""

from __future__ import annotations

from collections.abc import Iterable

from dramatiq.middleware import CurrentMessage

#: Message ids of this process. Written by the exchange thread; single operations on a set need no lock.
_requested: set[str] = set()


def request(message_ids: frozenset[str]) -> None:
    """The broker says that these are to stop."""
    _requested.update(message_ids)


def forget(message_ids: Iterable[str]) -> None:
    """Their claims have ended."""
    if _requested:
        _requested.difference_update(message_ids)


def is_requested(message_id: str) -> bool:
    """Whether this message is to stop."""
    return message_id in _requested


def is_current_requested() -> bool:
    """Whether the task of the calling code is to stop; False outside of tasks."""
    message = CurrentMessage.get_current_message()
    return message is not None and is_requested(message.message_id)
