"""The backends of this project that are ours."""

from __future__ import annotations

from typing import Any

from django_cfg.tasks import compat


def backends_of_ours() -> list[Any]:
    """In the order of TASKS. One that cannot be imported is no business of a worker."""
    found: list[Any] = []
    for alias in compat.task_backends:
        try:
            backend = compat.task_backends[alias]
        except compat.InvalidTaskBackend:
            continue
        if hasattr(backend, "max_attempts"):
            found.append(backend)
    return found
