"""How Django tasks of ours are sent; the framework has no bulk enqueue. Every task keeps its result."""

from __future__ import annotations

import django

django.setup()

from benchmarks.apps.ours_django.tasks import note  # noqa: E402 - needs the apps

send = send_for_result = note.enqueue
