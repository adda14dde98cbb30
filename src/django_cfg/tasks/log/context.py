"""Which task a log line belongs to."""

from __future__ import annotations

import logging

from dramatiq.middleware import CurrentMessage


class TaskContext(logging.Filter):
    """Gives every record the attributes `task` and `message_id`; empty outside of tasks.

    Workers add it by themselves. A project whose formatter names them in other processes too adds it to its handler:
    `"filters": {"task": {"()": "django_cfg.tasks.log.context.TaskContext"}}`.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "message_id"):
            message = CurrentMessage.get_current_message()
            record.task = message.actor_name if message is not None else ""
            record.message_id = message.message_id if message is not None else ""
        return True
