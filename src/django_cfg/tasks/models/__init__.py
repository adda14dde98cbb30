"""Tables, one a file. Times are whole milliseconds since 1970 by the database's own clock."""

from django_cfg.tasks.models.attempt import Attempt
from django_cfg.tasks.models.cancellation import Cancellation
from django_cfg.tasks.models.dead_letter import DeadLetter
from django_cfg.tasks.models.engine_state import EngineState
from django_cfg.tasks.models.error_group import ErrorGroup
from django_cfg.tasks.models.operator_action import OperatorAction
from django_cfg.tasks.models.outbox_message import OutboxMessage
from django_cfg.tasks.models.overview import Overview
from django_cfg.tasks.models.paused_queue import PausedQueue
from django_cfg.tasks.models.queue import Queue
from django_cfg.tasks.models.queue_message import QueueMessage
from django_cfg.tasks.models.redelivery import Redelivery
from django_cfg.tasks.models.rollup import Grain, Rollup
from django_cfg.tasks.models.schedule import Schedule
from django_cfg.tasks.models.task_group import GroupMember, TaskGroup
from django_cfg.tasks.models.task_record import TaskRecord
from django_cfg.tasks.models.task_result import TaskResult
from django_cfg.tasks.models.tick import Tick
from django_cfg.tasks.models.worker import Worker
from django_cfg.tasks.models.worker_session import WorkerSession

__all__ = [
    "Attempt",
    "Cancellation",
    "DeadLetter",
    "EngineState",
    "ErrorGroup",
    "Grain",
    "GroupMember",
    "OperatorAction",
    "OutboxMessage",
    "Overview",
    "PausedQueue",
    "Queue",
    "QueueMessage",
    "Redelivery",
    "Rollup",
    "Schedule",
    "TaskGroup",
    "TaskRecord",
    "TaskResult",
    "Tick",
    "Worker",
    "WorkerSession",
]
