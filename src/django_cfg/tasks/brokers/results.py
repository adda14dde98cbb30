"""Results: they travel with the outcome of their task and are stored in the step that releases it."""

from __future__ import annotations

import logging
import random
import time
from typing import TYPE_CHECKING, Any

from dramatiq import Message
from dramatiq.results import ResultBackend, ResultMissing, ResultTimeout
from dramatiq.results.backend import DEFAULT_TIMEOUT
from dramatiq.results.result import unwrap_result, wrap_exception

from django_cfg.errors import NotSerializable
from django_cfg.tasks.brokers import codec
from django_cfg.tasks.brokers.collector import PIPELINE_STEP, secrets_of, text_of
from django_cfg.tasks.brokers.contract import ResultEntry
from django_cfg.tasks.privacy import scrubbed

if TYPE_CHECKING:
    from django_cfg.tasks.brokers.base import EngineBroker

logger = logging.getLogger(__name__)
FIRST_POLL_S = 0.005
SLOWEST_POLL_S = 0.25


class EngineResults(ResultBackend):
    """The result backend of a broker of ours, for Dramatiq's own `Results` middleware.

    A task that returned None has no entry: when this process saw its message accepted, the broker no longer
    holds it and no error is stored, then None is the answer. Elsewhere, and on a broker that finds no message by
    its id (`supports_find`), `get_result` waits until its timeout.
    """

    broker: EngineBroker

    def store_result(self, message: Any, result: Any, ttl: int) -> None:
        if result is not None or message.options.get(PIPELINE_STEP):
            limit = self.broker.settings.max_payload_bytes
            self._put(message.message_id, _entry(message, result, ttl, limit))

    def store_exception(self, message: Any, exception: BaseException, ttl: int) -> None:
        secrets = secrets_of(message, self.broker.actors.get(message.actor_name))
        self._put(message.message_id, ResultEntry(_wire_error(exception, secrets), ttl))

    def _put(self, message_id: str, entry: ResultEntry) -> None:
        collector = self.broker.collecting()
        if collector is not None and collector.claim.message_id == message_id:
            collector.result = entry
        else:
            self.broker.store_result(message_id, entry)

    def get_result(self, message: Message[Any], *, block: bool = False, timeout: int | None = None) -> Any:
        """The value that the task returned.

        Parameters:
            block: wait for it, at most `timeout` milliseconds (default: ten seconds).

        Raises:
            ResultMissing: not there yet (without `block`), or never kept (`store_results=False`).
            ResultTimeout: not there in time.
            ResultFailure: the task ended with an error.
        """
        limit_s = (DEFAULT_TIMEOUT if timeout is None else timeout) / 1000
        deadline, pause_s = time.monotonic() + limit_s, FIRST_POLL_S
        while True:
            found, value = self._look(message)
            if found:
                return unwrap_result(value)
            if not block:
                raise ResultMissing(message)
            if time.monotonic() + pause_s > deadline:
                raise ResultTimeout(message)
            time.sleep(pause_s)
            pause_s = min(pause_s * random.uniform(1.5, 2), SLOWEST_POLL_S)

    def _look(self, message: Message[Any]) -> tuple[bool, Any]:
        # Held first, result second: the other order could miss a task that ends between the two looks.
        held = not self.broker.supports_find or self.broker.holds(message.message_id)
        found, value = self.broker.load_result(message.message_id)
        if found or held:
            return found, value
        if not self._keeps_results(message):
            raise ResultMissing(message)
        return self.broker.accepted_here(message), None

    def _keeps_results(self, message: Message[Any]) -> bool:
        actor = self.broker.actors.get(message.actor_name)
        own = actor.options.get("store_results", True) if actor is not None else True
        return bool(message.options.get("store_results", own))


def _entry(message: Any, result: Any, ttl: int, limit: int) -> ResultEntry:
    """The result, or the error of whoever asks for it: the task has ended well, only its value cannot travel."""
    name, entry = f"the result of {message.actor_name}", ResultEntry(result, ttl)
    try:
        codec.check(result, name)
        size = len(entry.text.encode())
    except NotSerializable as error:
        return _not_kept(message, str(error), ttl)
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        return _not_kept(message, f"{name}: {type(result).__name__} is not JSON ({error})", ttl)
    if size > limit:
        return _not_kept(message, f"{name} has {size:,} bytes, above max_payload_bytes ({limit:,})", ttl)
    return entry


def _not_kept(message: Any, why: str, ttl: int) -> ResultEntry:
    text = f"{why}; it is not kept. Return plain values, or declare the task with store_results=False"
    logger.warning("Message %s: %s", message.message_id, text)
    return ResultEntry(wrap_exception(NotSerializable(text)), ttl)


def _wire_error(error: BaseException, secrets: frozenset[str]) -> Any:
    """In Dramatiq's form, which would call `str(error)` itself. Whoever reads a result need not know the secrets."""
    wire = wrap_exception(Exception(scrubbed(text_of(error), secrets)))
    wire["exn"]["type"] = type(error).__name__
    return wire
