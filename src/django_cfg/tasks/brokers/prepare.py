"""From a stored message to one that may run: its options bounded by what its task allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dramatiq import Message

from django_cfg.tasks.brokers import options

if TYPE_CHECKING:
    from django_cfg.tasks.brokers.base import EngineBroker


def claimable(broker: EngineBroker, message: Message[Any]) -> Message[Any]:
    """The message with no limit above its task's: what stands in a queue is not trusted."""
    if options.LIMITS.isdisjoint(message.options):
        return message
    bounded = options.clamped(message.options, broker.limits_of(message.actor_name, message.options))
    if bounded is message.options:
        return message
    return Message(
        queue_name=message.queue_name,
        actor_name=message.actor_name,
        args=message.args,
        kwargs=message.kwargs,
        options=bounded,
        message_id=message.message_id,
        message_timestamp=message.message_timestamp,
    )
