"""How it is sent; there is no bulk enqueue. Every task keeps its result."""

from __future__ import annotations

import django

django.setup()

from benchmarks.apps.django_tasks_db_app.tasks import note  # noqa: E402 - needs the apps

send = send_for_result = note.enqueue
