"""`dramatiq_import --from django-tasks-db`: count, ask, move, tell."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError

from django_cfg.errors import ConfigurationError
from django_cfg.tasks import compat
from django_cfg.tasks.management.console import USAGE, confirmed
from django_cfg.tasks.management.imports import django_tasks_db
from django_cfg.tasks.management.imports.found import Found
from django_cfg.units import counted


def run(options: dict[str, Any]) -> str:
    """Do what the options of the command mean; returns what it prints."""
    try:
        backend = _backend(options["backend"])
        found = django_tasks_db.look(options["database"])
    except ConfigurationError as error:
        raise CommandError(str(error), returncode=USAGE) from error
    if found.waiting and not options["dry_run"]:
        _ask(sum(found.waiting.values()), is_sure=options["yes"])
        django_tasks_db.move(options["database"], backend, found)
    return json.dumps({"schema": 1, **asdict(found)}) if options["json"] else as_text(found)


def _backend(alias: str) -> Any:
    try:
        backend = compat.task_backends[alias]
    except compat.InvalidTaskBackend as error:
        raise ConfigurationError(f"--backend {alias}: {error}") from error
    if not hasattr(backend, "take_over"):
        raise ConfigurationError(f"--backend {alias}: {type(backend).__qualname__} is not EngineBackend")
    return backend


def _ask(total: int, *, is_sure: bool) -> None:
    if is_sure:
        return
    if not sys.stdin.isatty():
        raise CommandError(f"{counted(total, 'task')} would be moved. Say --yes to move.", returncode=USAGE)
    if not confirmed(f"Move {counted(total, 'task')}? Rows are deleted where they are."):
        raise CommandError("Nothing was moved.", returncode=1)


def as_text(found: Found) -> str:
    lines = [f"{count:8} {path}" for path, count in found.waiting.items()]
    lines += [f"{count:8} {path}: unknown to this project, left where it is" for path, count in found.unknown.items()]
    if found.running:
        lines.append(f"{found.running:8} running under the other system's worker, left where they are")
    lines += [f"left in place: {text}" for text in found.refused]
    lines.append(f"{found.moved} moved.")
    return "\n".join(lines)
