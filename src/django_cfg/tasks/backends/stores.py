"""Which broker a backend uses, and where a result is looked for."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from hashlib import sha256
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import dramatiq
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections
from django.utils import timezone
from django.utils.module_loading import import_string
from dramatiq import Message
from dramatiq.middleware import CurrentMessage

from django_cfg.tasks import conf
from django_cfg.tasks.backends import results, wire
from django_cfg.tasks.brokers import codec
from django_cfg.tasks.brokers.contract import DeadFilter
from django_cfg.tasks.brokers.endings import WAITS, ended_badly, waiting
from django_cfg.tasks.compat import AnyResult
from django_cfg.units import days_to_ms

if TYPE_CHECKING:
    from django_cfg.tasks.brokers.base import EngineBroker

#: Brokers beside the project's own, by URL. One for all threads: their connections know forks.
_others: dict[str, EngineBroker] = {}
#: A task may move between two looks: from a queue to its result, from the dead letters to a queue.
LOOKS = 2


def broker_of(url: str | None) -> EngineBroker:
    """The project's broker, or the one of a URL.

    Raises:
        ImproperlyConfigured: the tasks app is not installed, so that there is no broker of ours.
    """
    own = dramatiq.get_broker()
    if not hasattr(own, "settings"):
        raise ImproperlyConfigured("EngineBackend needs the broker of 'django_cfg.apps.tasks' in INSTALLED_APPS")
    broker = cast("EngineBroker", own)
    if url is None or url == broker.settings.broker_url or broker.stands_in:
        return broker
    if url not in _others:
        # By name: it imports models, and a backend is made before they are there.
        make: Any = import_string("django_cfg.tasks.brokers.make.make")
        alone = replace(conf.read(), broker_url=url, broker_class="", broker_options={}, result_backend=None)
        made: EngineBroker = make(alone)
        made.name = sha256(url.encode()).hexdigest()[:32]
        _others[url] = made
    return _others[url]


def find(broker: EngineBroker, result_id: str) -> AnyResult | None:
    """The result of a task, wherever it stands: in its queue, finished, dead, or in an outbox on its way."""
    for _ in range(LOOKS):
        for look in (_running_here, _standing, _kept, _dead, in_outbox):
            found = look(broker, result_id)
            if found is not None:
                return found
    return None


def _running_here(broker: EngineBroker, result_id: str) -> AnyResult | None:
    """Where brokers find no message, a task still knows itself."""
    message: Any = None if broker.supports_find else CurrentMessage.get_current_message()
    if message is None or message.message_id != result_id or message.run is None:
        return None
    found: AnyResult = message.run.result
    return found


def _standing(broker: EngineBroker, result_id: str) -> AnyResult | None:
    found = broker.find(result_id)
    return None if found is None or not _is_task(found.message) else results.standing(found)


def _kept(broker: EngineBroker, result_id: str) -> AnyResult | None:
    is_there, value = broker.load_result(result_id)
    if not is_there or not isinstance(value, dict):
        return None
    if results.is_kept(value):
        return results.read_kept(result_id, value)
    if not isinstance(value.get("message"), dict):
        return None
    try:
        message = codec.decode(codec.dumps(value["message"]))
    except ValueError:
        return None  # what an actor returned, with a word of ours in it
    if not _is_task(message):
        return None
    return results.from_message(message) if WAITS in value else results.cancelled(message, value.get("at"))


def note_waiting(broker: EngineBroker, message: Message[Any]) -> None:
    """For a broker that cannot look a message up: an entry of what waits, until its outcome takes the place.

    Written before the message: the other way round it could overwrite the outcome of a quick worker.
    """
    broker.store_result(message.message_id, waiting(message, ttl_ms=days_to_ms(broker.settings.result_ttl_days)))


def note_refused(broker: EngineBroker, message: Message[Any], error: Exception) -> None:
    """What was noted as waiting was not accepted; left alone, it would stand in the way of a unique task for ever."""
    broker.store_result(message.message_id, ended_badly(f"not accepted: {type(error).__name__}"))


def _dead(broker: EngineBroker, result_id: str) -> AnyResult | None:
    for letter in broker.dead_letters(DeadFilter(message_ids=(result_id,)), 1):
        if letter.message is not None and _is_task(letter.message):
            died_at_us = cast("int", wire.micros(timezone.now())) - round(letter.age_s * 1_000_000)
            return results.dead(letter, letter.message, died_at_us)
    return None


def in_outbox(broker: EngineBroker, result_id: str) -> AnyResult | None:
    """The result of a task that is on its way to the broker."""
    if _is_async():
        return None  # nobody may wait for a database here; `aget_result` does it in a thread
    # By name, as above.
    look: Any = import_module("django_cfg.tasks.brokers.outbox.look")
    relay: Any = import_module("django_cfg.tasks.brokers.outbox.relay")
    # What is not committed is in a transaction of this thread; the rest leaves its outbox within milliseconds.
    used = {c.alias for c in connections.all(initialized_only=True) if c.in_atomic_block} | {DEFAULT_DB_ALIAS}
    aliases = [alias for alias in used if alias != broker.transaction_alias and relay.has_table(alias)]
    found = look.find(result_id, aliases)
    return None if found is None or not _is_task(found.message) else results.from_message(found.message)


def _is_async() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _is_task(message: Any) -> bool:
    return wire.DECLARED in message.options
