"""Collects what hooks do around one task and turns it into one outcome.

Stock middleware enqueues a retry, a callback or the next step of a pipeline while it handles the end of a
task. Stored at once, that would be a second step beside the release of the message, and a crash between the
two would lose or repeat work. So while hooks run, the broker stores nothing and notes everything here.
"""

from __future__ import annotations

import time
import traceback
import uuid
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from dramatiq import Actor, Message
from dramatiq.common import compute_backoff

from django_cfg.errors import TaskError
from django_cfg.tasks.brokers import codec
from django_cfg.tasks.brokers.contract import Claim, Failure, FollowUp, Outcome, ResultEntry
from django_cfg.tasks.brokers.endings import ended_badly, waiting
from django_cfg.tasks.lifecycle import Kind
from django_cfg.tasks.privacy import scrubbed, secrets_in, signature_of_task
from django_cfg.tasks.records.fingerprint import fingerprint, frames_of

MACHINERY = ("django_cfg.tasks.", "dramatiq.")
MAX_ERRORS = 5
MAX_TRACEBACK = 4000
MAX_ERROR_TEXT = 1000
#: Marks a message that its sender never held, so that also a None is kept as its result.
PIPELINE_STEP = "pipeline_step"
HOOK_BACKOFF_MS = 1000
HOOK_MAX_BACKOFF_MS = 60_000


@dataclass(slots=True)
class Collector:
    """Notes of one claim; used by one thread.

    Attributes:
        waiting_ttl_ms: a retry leaves an entry in the place of the result for so long; None: it leaves none.
    """

    claim: Claim
    default_max_retries: int
    actor: Actor[Any, Any] | None = None
    is_open: bool = False
    hook: str = ""
    retry_delay_ms: int | None = None
    retry_message: Message[Any] | None = None
    follow_ups: list[FollowUp] = field(default_factory=list)
    result: ResultEntry | None = None
    waiting_ttl_ms: int | None = None
    hook_errors: list[BaseException] = field(default_factory=list)
    wait_ms: float = 0.0
    run_ms: float = 0.0
    retries_before: int = field(init=False)

    def __post_init__(self) -> None:
        # Noted now: the stock middleware counts up in the message itself, also when there is no further retry.
        self.retries_before = int(self.claim.message.options.get("retries", 0))

    def enqueue(self, message: Message[Any], delay_ms: int | None) -> Message[Any]:
        """Note a message that a hook enqueued: the claimed id means a retry, any other a follow-up."""
        if message.message_id == self.claim.message_id:
            self.retry_delay_ms, self.retry_message = delay_ms or 0, message
            return message
        stable = self._with_stable_id(message)
        codec.encode(stable)  # refused here it costs one task; refused by the store, all outcomes sent with it
        self.follow_ups.append(FollowUp(stable, delay_ms or 0))
        return stable

    def _with_stable_id(self, message: Message[Any]) -> Message[Any]:
        """A callback gets a new random id on each run; after a redelivery it must be the same message."""
        target = self.claim.message.options.get("pipe_target")
        if isinstance(target, dict) and target.get("message_id") == message.message_id:
            return message.copy(options={PIPELINE_STEP: True})
        if _is_of_a_name(message.message_id):
            return message
        parts = (
            self.claim.message_id,
            self.claim.generation,
            self.hook,
            message.actor_name,
            len(self.follow_ups),
        )
        return message.copy(message_id=str(uuid.uuid5(uuid.NAMESPACE_OID, ":".join(map(str, parts)))))

    def outcome(self, *, failed: bool, skipped: bool, error: BaseException | None) -> Outcome:
        """The verdict. Only an explicit one releases a message as finished (no verdict is not success)."""
        failure = self._describe(error) if error is not None else None
        if self.retry_message is not None:
            return self._end(Kind.RETRY, failure, "", self.retry_message, self.retry_delay_ms or 0)
        if failed:
            reason = "age limit" if skipped else "failed"
            return self._end(Kind.DEAD, failure, reason)
        if error is not None and not skipped:
            return self._end(Kind.DEAD, failure, "no verdict")
        if self.hook_errors:
            return self._after_hook_error(self.hook_errors[0])
        return self._end(Kind.DONE, None, "")

    def _after_hook_error(self, error: BaseException) -> Outcome:
        """A hook that broke may have taken a follow-up with it, so the task has not ended well."""
        failure, message = self._describe(error), self.claim.message
        retries = int(message.options.get("retries", 0))
        limit = message.options.get("max_retries", self.default_max_retries)
        # A follow-up that cannot be accepted (a result that is no JSON) would not be the next time either.
        if isinstance(error, TaskError) or (limit is not None and retries >= limit):
            return self._end(Kind.DEAD, failure, "hook failed")
        again = message.copy(options={"retries": retries + 1})
        _, delay = compute_backoff(retries, factor=HOOK_BACKOFF_MS, max_backoff=HOOK_MAX_BACKOFF_MS)
        return self._end(Kind.RETRY, failure, "hook failed", again, delay)

    def _describe(self, error: BaseException) -> Failure:
        return describe(error, secrets_of(as_stored(self.claim), self.actor))

    def _result(self, kind: Kind, reason: str, message: Message[Any]) -> ResultEntry | None:
        if kind is Kind.RETRY and self.waiting_ttl_ms is not None:
            return waiting(message, ttl_ms=self.waiting_ttl_ms)
        if kind is Kind.DEAD and self.result is None and reason != "failed":
            return ended_badly(reason)
        return self.result if kind in (Kind.DONE, Kind.DEAD) else None

    def _end(
        self,
        kind: Kind,
        failure: Failure | None,
        reason: str,
        message: Message[Any] | None = None,
        delay_ms: int = 0,
    ) -> Outcome:
        sent = self._as_sent(kind, message or self.claim.message)
        body = with_error(sent, failure) if failure else sent
        return Outcome(
            claim=self.claim,
            kind=kind,
            message=body,
            delay_ms=delay_ms,
            follow_ups=tuple(self.follow_ups),
            result=self._result(kind, reason, body),
            failure=failure,
            reason=_reason(reason, failure),
            wait_ms=self.wait_ms,
            run_ms=self.run_ms,
            retries_before=self.retries_before,
        )

    def _as_sent(self, kind: Kind, message: Message[Any]) -> Message[Any]:
        """With the arguments as they were stored: the task may have changed its own in place."""
        if kind is Kind.DONE:
            return message
        stored = as_stored(self.claim)
        return message.copy(args=stored.args, kwargs=stored.kwargs)


def _is_of_a_name(message_id: str) -> bool:
    """Whether an id was made of a name, as that of a unique task is: then it is the same each time."""
    try:
        return uuid.UUID(message_id).version == 5
    except ValueError:
        return False


def as_stored(claim: Claim) -> Message[Any]:
    """The message as the broker holds it, whatever a task or a hook did to its own copy."""
    return codec.decode(claim.body) if claim.body else claim.message


def _reason(reason: str, failure: Failure | None) -> str:
    if reason == "failed" and failure is not None:
        return f"failed: {failure.type}"[:200]
    return reason


def describe(error: BaseException, secrets: frozenset[str] = frozenset()) -> Failure:
    """An exception as bounded text without secrets; the innermost frames of a long traceback are kept."""
    trace = _from_task(error.__traceback__)
    text = scrubbed(_storable("".join(traceback.format_exception(type(error), error, trace))), secrets)
    if len(text) > MAX_TRACEBACK:
        text = "[...]\n" + text[-MAX_TRACEBACK:]
    frames, path = frames_of(trace), f"{type(error).__module__}.{type(error).__qualname__}"
    kind = type(error).__name__
    said = scrubbed(text_of(error), secrets)[:MAX_ERROR_TEXT]
    return Failure(kind, said, text, fingerprint(kind, frames), frames[-1] if frames else "", path)


def secrets_of(message: Message[Any], actor: Actor[Any, Any] | None) -> frozenset[str]:
    """Values among a message's arguments that must not show up in the texts of its errors."""
    return secrets_in(message.args, message.kwargs, signature_of_task(actor))


def text_of(error: BaseException) -> str:
    """What an exception says, whatever its `__str__` does."""
    try:
        return _storable(str(error))
    except Exception:  # noqa: BLE001 - foreign code, and its failure is the answer
        return f"<{type(error).__name__} without a text: its __str__ failed>"


def _storable(text: str) -> str:
    """Half characters and NULs are shown escaped; JSON has no way for the former, PostgreSQL for the latter."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _from_task(frames: TracebackType | None) -> TracebackType | None:
    """The traceback without the frames of the machinery that called the task."""
    inner = frames
    while inner is not None and inner.tb_frame.f_globals.get("__name__", "").startswith(MACHINERY):
        inner = inner.tb_next
    return inner or frames


def with_error(message: Message[Any], failure: Failure) -> Message[Any]:
    """The message with this failure as the newest of its last five; it travels with the message."""
    entry = {
        "type": failure.type,
        "path": failure.path,
        "text": failure.text,
        "traceback": failure.traceback,
        "at": round(time.time() * 1000),
    }
    earlier = message.options.get("errors")
    errors = [*(earlier if isinstance(earlier, list) else []), entry][-MAX_ERRORS:]
    again = message.copy(options={"errors": errors})
    again.options.pop("traceback", None)  # the stock copy of the same text
    return again


def fresh(message: Message[Any]) -> Message[Any]:
    """The message as it was before it ever ran: for a retry that an operator asked for."""
    spent = {
        "retries",
        "attempts",
        "errors",
        "traceback",
        "requeue_timestamp",
        "eta",
        "unknown_since",
        "redis_message_id",
    }
    options = {name: value for name, value in message.options.items() if name not in spent} | {"revived": True}
    return Message(
        queue_name=message.queue_name,
        actor_name=message.actor_name,
        args=message.args,
        kwargs=message.kwargs,
        options=options,
        message_id=message.message_id,
    )
