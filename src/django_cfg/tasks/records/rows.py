"""From events to rows. Pure but for the clock that the caller read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec
from dramatiq import Actor

from django_cfg.tasks.events import TaskSettled
from django_cfg.tasks.lifecycle import AFTER, CANCELLED, FINAL, Kind, State
from django_cfg.tasks.models import Attempt
from django_cfg.tasks.privacy import scrubbed, secrets_in, shown_arguments, shown_value, signature_of_task, without
from django_cfg.tasks.records.running import Progress, Running

LONGEST_ARGUMENTS = 4000
LONGEST_RESULT = 1000
#: Order within one claim: every write of the running task, then its outcome.
WRITES_OF_A_CLAIM = 1_000_000
OUTCOME = WRITES_OF_A_CLAIM - 1

#: Length of `2026-01-31 12:00:00`; fractions stand behind it, and a zone behind those.
WHOLE = 19

COLUMNS = (
    *("message_id", "task", "queue", "state", "attempts", "retries", "wait_ms", "run_ms"),
    *("enqueued_at", "started_at", "finished_at", "updated_at", "worker"),
    *("arguments", "result", "reason", "error_type", "error", "fingerprint"),
    *("tags", "parent_id", "retry_of", "log", "progress_done", "progress_total", "progress_note"),
    *("generation", "order_key"),
)
ADDED = ("wait_ms",)
KEPT = ("arguments", "tags", "parent_id", "retry_of", "worker")
_NO_PROGRESS: tuple[float | None, float | None, str] = (None, None, "")
Row = tuple[Any, ...]


class Body(msgspec.Struct):
    """What a record keeps of a stored message."""

    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    options: dict[str, Any] = {}


_decoder = msgspec.json.Decoder(Body)
_NOTHING = Body()


def read_body(text: str) -> Body:
    """The parts of a stored message; empty ones where it cannot be read."""
    try:
        return _decoder.decode(text) if text else _NOTHING
    except msgspec.DecodeError:
        return _NOTHING


@dataclass(slots=True)
class Seen:
    """An event as the recorder got it.

    Attributes:
        at: seconds since 1970.
        running: what this process noted while the task ran; None if it did not run here.
    """

    event: TaskSettled
    at: float
    running: Running | None


class Rows:
    """Makes rows for one database.

    Parameters:
        actors: the declared tasks, by name.
        worker: host and process id.
        adapt: turns a moment into what the database takes.
    """

    def __init__(
        self, actors: Mapping[str, Actor[Any, Any]], worker: str, adapt: Callable[[datetime | None], Any]
    ) -> None:
        self._actors = actors
        self._worker = worker
        self._adapt = adapt
        self._second = lru_cache(maxsize=64)(self._second_of)

    def record(self, seen: Seen, wait_ms: float) -> Row:
        """The row of a task whose claim has ended."""
        event, ended = seen.event, self.moment(seen.at)
        state = state_after(event)
        return (
            *(event.message_id, event.task, event.queue, state.value),
            *(attempts_of(event), event.retries, wait_ms, event.run_ms),
            self.moment(event.enqueued_at_ms / 1000),
            self.moment(seen.at - event.run_ms / 1000) if event.started else None,
            ended if state in FINAL else None,
            ended,
            self._worker if event.body else "",
            *self._what(event, seen.running),
            *order_of(event),
        )

    def _what(self, event: TaskSettled, task: Running | None) -> Row:
        body, actor = read_body(event.body), self._actors.get(event.task)
        lines, progress = (task.lines, task.progress) if task is not None else ((), None)
        return (
            self._arguments(body, actor) if event.body else "",
            result_text(event.result, body, actor) if event.result is not None else "",
            *(event.reason[:200], event.error_type[:200], event.error, event.fingerprint),
            *links(body.options, actor),
            log_text(lines, body, actor) if lines else "",
            *progress_of(progress, body, actor),
        )

    def running(self, task: Running, at: float) -> Row:
        """The row of a task that runs right now."""
        claim, began = task.claim, self.moment(task.began)
        message = claim.message
        body, actor = read_body(claim.body), self._actors.get(message.actor_name)
        retries = int(body.options.get("retries", 0))
        return (
            *(message.message_id, message.actor_name, message.queue_name, State.RUNNING.value),
            *(retries + 1, retries, 0.0, 0.0),
            self.moment(claim.enqueued_at_ms / 1000),
            *(began, None, self.moment(at), self._worker),
            self._arguments(body, actor),
            *("", "", "", "", ""),
            *links(body.options, actor),
            *("", *progress_of(task.progress, body, actor)),
            *(claim.generation, claim.fence * WRITES_OF_A_CLAIM + min(task.writes, OUTCOME - 2)),
        )

    def attempt(self, seen: Seen) -> Attempt:
        """A failed attempt."""
        event, task = seen.event, seen.running
        lines = task.lines if task is not None else []
        return Attempt(
            message_id=event.message_id,
            generation=event.generation,
            fence=event.fence,
            ended_as=event.kind.value,
            error_type=event.error_type[:200],
            error=event.error,
            traceback=event.traceback,
            fingerprint=event.fingerprint,
            log=log_text(lines, read_body(event.body), self._actors.get(event.task)) if lines else "",
            wait_ms=event.wait_ms,
            run_ms=event.run_ms,
            ended_at=datetime.fromtimestamp(seen.at, UTC),
            worker=self._worker if event.body else "",
        )

    def _arguments(self, body: Body, actor: Actor[Any, Any] | None) -> str:
        if not body.args and not body.kwargs:
            return "{}"
        signature = signature_of_task(actor)
        redact = actor.options.get("redact") if actor is not None else None
        return cut(as_json(shown_arguments(body.args, body.kwargs, signature, redact)), LONGEST_ARGUMENTS)

    def moment(self, seconds: float) -> str:
        """Seconds since 1970 as the database takes them in text."""
        whole, part = divmod(round(seconds * 1_000_000), 1_000_000)
        text = self._second(whole)
        return f"{text[:WHOLE]}.{part:06d}{text[WHOLE:]}" if part else text

    def _second_of(self, whole: int) -> str:
        return str(self._adapt(datetime.fromtimestamp(whole, UTC)))


def order_of(event: TaskSettled) -> tuple[int, int]:
    """Generation and order key. A lost run goes on, or is the death of its message: that is said last."""
    return event.generation, event.fence * WRITES_OF_A_CLAIM + OUTCOME - (event.kind is Kind.RETRY)


def state_after(event: TaskSettled) -> State:
    """Where a claim leaves its task. What a cancelled task gives back goes nowhere: the broker drops it."""
    return State.CANCELLED if is_cancelled(event) else AFTER[event.kind]


def is_cancelled(event: TaskSettled) -> bool:
    """Whether the task was asked to stop while it ran, and did."""
    return event.kind is Kind.RELEASED and event.reason == CANCELLED


def attempts_of(event: TaskSettled) -> int:
    """How many attempts this life of the message has seen. One that was given back counts for none."""
    return event.retries + (0 if event.kind is Kind.RETRY else 1)


def result_text(value: Any, body: Body, actor: Actor[Any, Any] | None) -> str:
    """What a task returned, as bounded JSON."""
    shown, secrets = shown_value("result", value), secrets_of(body, actor)
    return cut(as_json(without(shown, secrets) if secrets else shown), LONGEST_RESULT)


def progress_of(
    progress: Progress | None, body: Body, actor: Actor[Any, Any] | None
) -> tuple[float | None, float | None, str]:
    """How far a task says it is."""
    done, total, note = progress or _NO_PROGRESS
    return done, total, scrubbed(note, secrets_of(body, actor)) if note else ""


def log_text(lines: Iterable[str], body: Body, actor: Actor[Any, Any] | None) -> str:
    return scrubbed("\n".join(lines), secrets_of(body, actor))


def secrets_of(body: Body, actor: Actor[Any, Any] | None) -> frozenset[str]:
    """The hidden values among the arguments of a stored message."""
    return secrets_in(body.args, body.kwargs, signature_of_task(actor))


def links(options: Mapping[str, Any], actor: Actor[Any, Any] | None) -> tuple[str, str, str]:
    """Tags (`,a,b,`, so that one can be looked for whole), parent and the task that this one repeats."""
    own = actor.options.get("tags", ()) if actor is not None else ()
    if not options and not own:
        return "", "", ""
    tags = [str(tag) for tag in (*own, *options.get("tags", ()))]
    joined = f",{','.join(dict.fromkeys(tags))},"[:500] if tags else ""
    return joined, str(options.get("parent_id", ""))[:64], str(options.get("retry_of", ""))[:64]


def as_json(value: Any) -> str:
    return msgspec.json.encode(value).decode().replace("\\u0000", "\\\\x00")


def cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
