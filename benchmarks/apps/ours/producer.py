"""How our tasks are sent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import django

django.setup()

import dramatiq  # noqa: E402 - the broker comes with Django's apps

from benchmarks.apps.ours.tasks import note, note_for_result  # noqa: E402

send = note.send
send_for_result = note_for_result.send


def send_many(numbers: Iterable[int]) -> None:
    broker: Any = dramatiq.get_broker()
    broker.enqueue_many([note.message(number) for number in numbers])
