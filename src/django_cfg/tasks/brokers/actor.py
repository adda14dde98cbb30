"""Actors as our brokers know them: with `asend`, and with options that are checked where they are written."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any, ParamSpec, TypeVar, cast

from asgiref.sync import sync_to_async
from django.db import connections
from dramatiq import Actor, Message

from django_cfg.errors import AsyncSendError
from django_cfg.tasks.brokers import options

P = ParamSpec("P")
R = TypeVar("R")


class EngineActor(Actor[P, R]):
    """A Dramatiq actor whose sends are validated and that can be sent from async code."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Run the task here and now. Arguments are never logged, not even for debugging: they may hold secrets."""
        began = time.perf_counter()
        try:
            return self.fn(*args, **kwargs)
        finally:
            self.logger.debug("Completed after %.02fms.", (time.perf_counter() - began) * 1000)

    def message_with_options(
        self, *, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None, **given: Any
    ) -> Message[R]:
        """Build a message.

        Raises:
            InvalidTaskOption: an unknown option (with the nearest known name), a wrong type or range.
        """
        if not given:
            return Message(self.queue_name, self.actor_name, args, kwargs or {}, {}, new_id())
        options.check_send(self.actor_name, given, cast("Any", self.broker).known_options)
        return super().message_with_options(args=args, kwargs=kwargs, **given).copy(message_id=new_id())

    def send_with_options(
        self,
        *,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        delay: Any = None,
        **given: Any,
    ) -> Message[R]:
        """Send a message with options.

        Parameters:
            delay: milliseconds, a timedelta, or an aware datetime.

        Raises:
            AsyncSendError: called in async code on a broker that blocks; use `await ....asend_with_options()`.
        """
        self._refuse_in_async_code()
        message = self.message_with_options(args=args, kwargs=kwargs, **given)
        return self.dispatch(message, delay)

    def dispatch(self, message: Message[R], delay: Any = None) -> Message[R]:
        """Enqueue a message of this task."""
        return cast("Message[R]", self.broker.enqueue(message, delay=delay))

    def tick_options(self) -> dict[str, Any]:
        """What a message that a schedule makes carries besides its schedule."""
        return {}

    def copy_options(self, message: Message[R]) -> dict[str, Any]:
        """What a copy of a message carries that is sent as a task of its own."""
        return {}

    async def asend(self, *args: P.args, **kwargs: P.kwargs) -> Message[R]:
        """Send from async code without blocking the event loop."""
        return await self.asend_with_options(args=args, kwargs=dict(kwargs))

    async def asend_with_options(self, **given: Any) -> Message[R]:
        """`send_with_options` from async code."""
        return await sync_to_async(self._send_on_a_sound_connection)(**given)

    def _send_on_a_sound_connection(self, **given: Any) -> Message[R]:
        """In a worker no request ends, so nothing else looks after the connections of this thread."""
        for connection in connections.all(initialized_only=True):
            if not connection.in_atomic_block:  # Django would close that one too, and end the transaction with it
                connection.close_if_unusable_or_obsolete()
        return self.send_with_options(**given)

    def _refuse_in_async_code(self) -> None:
        if getattr(self.broker, "supports_async_send", True):
            return
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        raise AsyncSendError(
            f"{self.actor_name}.send() would block the event loop (the broker is a database); "
            f"write `await {self.actor_name}.asend(...)`"
        )


def new_id() -> str:
    """A UUID of version 7 (RFC 9562) as text: 48 bits of time in ms, then 74 random ones.

    What was sent at about the same time stands together in every index, so that databases write fewer pages than for
    ids that are random throughout. Several times as fast as by way of an object.
    """
    chance = int.from_bytes(os.urandom(10), "big") & ~(0xF000 << 64 | 0xC000 << 48) | 0x7000 << 64 | 0x8000 << 48
    text = f"{time.time_ns() // 1_000_000 << 80 | chance:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def adopt(actor: Actor[Any, Any]) -> None:
    """Make an actor of `@dramatiq.actor` one of ours.

    The decorator has no hook for a default actor class, so the instance changes its class when it is
    declared on our broker. Actors with a class of their own are left alone.
    """
    if type(actor) is Actor:
        actor.__class__ = EngineActor
