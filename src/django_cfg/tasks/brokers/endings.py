"""What is left for those who wait for the result of a message that will not run again."""

from __future__ import annotations

import time
from typing import Any

from dramatiq import Message
from dramatiq.results.result import wrap_exception

from django_cfg.tasks.brokers import codec
from django_cfg.tasks.brokers.contract import ResultEntry
from django_cfg.tasks.events import TaskSettled
from django_cfg.tasks.lifecycle import Kind

DEAD_RESULT_TTL_MS = 30 * 86_400_000
CANCELLED = "cancelled by an operator"
#: The option of a message whose result must be found from its enqueue on, also where brokers find no message.
FINDABLE = "django_task"
#: Marks the entry of a message that has not ended.
WAITS = "waits"
#: Marks an entry that says more than what the task returned, arguments too: that of a Django task.
WHOLE, RETURNED = "django_task_result", "return_value"


def ended_badly(reason: str, *, ttl_ms: int = DEAD_RESULT_TTL_MS) -> ResultEntry:
    """What whoever waits for the result of a dead or cancelled message gets to see."""
    return ResultEntry(wrap_exception(DeadLettered(reason)), ttl_ms)


def cancelled(body: str = "") -> ResultEntry:
    """What is left of a cancelled message; of a Django task with its body, because no dead letter keeps that."""
    entry = ended_badly(CANCELLED)
    if not _is_findable(body):
        return entry  # nobody asks for its arguments, and they may be secrets
    return ResultEntry({**entry.value, "at": round(time.time() * 1000), "message": codec.loads(body)}, entry.ttl_ms)


def _is_findable(body: str) -> bool:
    try:
        return FINDABLE in body and FINDABLE in codec.decode(body).options
    except ValueError:
        return False  # nobody can read it


def waiting(message: Message[Any], *, ttl_ms: int = DEAD_RESULT_TTL_MS) -> ResultEntry:
    """What stands in the place of the result until there is one, for a broker that finds no message."""
    return ResultEntry({WAITS: True, "message": message.asdict()}, ttl_ms)


class DeadLettered(Exception):
    """The task will not run again; its name is what `ResultFailure` shows."""


def returned(value: Any) -> Any:
    """What a task returned, out of what is kept as its result."""
    return value.get(RETURNED) if isinstance(value, dict) and WHOLE in value else value


def ending(value: Any) -> str:
    """How the task ended of which this is kept as its result: completed, failed or cancelled; "" if it has not."""
    if not isinstance(value, dict):
        return "completed"
    if WAITS in value and "message" in value:
        return ""
    if WHOLE in value:
        return "completed" if value.get("status") == "SUCCESSFUL" else "failed"
    taken_away = ended_badly(CANCELLED).value
    if value.get("__t") != taken_away["__t"]:
        return "completed"
    return "cancelled" if value.get("exn") == taken_away["exn"] else "failed"


def died_with_its_process(times: int) -> str:
    """Why a message is dead that kept ending the process that ran it."""
    return f"its worker process died {times} times while running it"


def lost_for_good(
    message_id: str, task: str, reason: str, queue: str, generation: int, fence: int, enqueued_at_ms: int
) -> TaskSettled:
    """The event of such a death. Nobody measured its run: the process that could have is gone."""
    return TaskSettled(
        message_id=message_id,
        task=task,
        queue=queue,
        kind=Kind.DEAD,
        generation=generation,
        fence=fence,
        retries=0,
        enqueued_at_ms=enqueued_at_ms,
        wait_ms=0.0,
        run_ms=0.0,
        reason=reason,
        error_type="WorkerLost",
        error=reason,
        traceback="",
    )
