"""Tables, one a file. Times are whole milliseconds since 1970 by the database's own clock."""

from django_cfg.tasks.models.attempt import Attempt
from django_cfg.tasks.models.dead_letter import DeadLetter
from django_cfg.tasks.models.engine_state import EngineState
from django_cfg.tasks.models.paused_queue import PausedQueue
from django_cfg.tasks.models.queue_message import QueueMessage
from django_cfg.tasks.models.task_record import TaskRecord
from django_cfg.tasks.models.task_result import TaskResult
from django_cfg.tasks.models.worker_session import WorkerSession

__all__ = [
    "Attempt",
    "DeadLetter",
    "EngineState",
    "PausedQueue",
    "QueueMessage",
    "TaskRecord",
    "TaskResult",
    "WorkerSession",
]
