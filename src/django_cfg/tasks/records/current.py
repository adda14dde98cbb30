"""The task that the calling code belongs to, as its author sees it."""

from __future__ import annotations

from typing import Any

from dramatiq.middleware import CurrentMessage

from django_cfg.errors import TaskCancelled
from django_cfg.tasks.records.cancelling import is_current_requested
from django_cfg.tasks.records.running import current, storable

LONGEST_NOTE = 200


class CurrentTask:
    """The running task. Made by `current_task()`."""

    def __init__(self, message: Any) -> None:
        self._message = message

    @property
    def message_id(self) -> str:
        """Id of the message; "" when the task was called directly."""
        return self._message.message_id if self._message is not None else ""

    @property
    def attempt(self) -> int:
        """1 for the first attempt, one more after each retry."""
        return 1 + int(self._message.options.get("retries", 0)) if self._message is not None else 1

    @property
    def redelivered(self) -> bool:
        """Whether an earlier run of this task ended with the death of its process."""
        claim = getattr(self._message, "claim", None)
        return claim is not None and claim.deliveries > 0

    @property
    def is_cancelled(self) -> bool:
        """Whether an operator asked this task to stop. Known within about two seconds; costs nothing to ask."""
        return is_current_requested()

    def raise_if_cancelled(self) -> None:
        """End the task here if an operator asked it to stop. It is cancelled then: no retry, no dead letter.

        Raises:
            TaskCancelled: let it through.
        """
        if self.is_cancelled:
            raise TaskCancelled(f"task {self.message_id} was cancelled by an operator")

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Say how far the task is. Costs no I/O: the newest word is recorded within about 0.1 s.

        Called directly, as in a test, it goes nowhere.

        Parameters:
            done: how much is done, in units of your own.
            total: how much there is; None: unknown.
            note: a few words, cut after 200 characters.

        Raises:
            ValueError: a negative number, or more done than there is.
        """
        if done < 0 or (total is not None and done > total):
            raise ValueError(f"progress: expected 0 <= done <= total, got done={done!r}, total={total!r}")
        task = current()
        if task is not None:
            task.progress = (float(done), None if total is None else float(total), storable(str(note))[:LONGEST_NOTE])


def current_task() -> CurrentTask:
    """The task that runs in this thread (or coroutine)."""
    return CurrentTask(CurrentMessage.get_current_message())
