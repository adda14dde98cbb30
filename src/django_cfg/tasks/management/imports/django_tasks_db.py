"""Waiting tasks of django-tasks-db: rows of its table, which may outlive the package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps.registry import Apps
from django.db import connections, models, transaction

from django_cfg.errors import ConfigurationError, InvalidTaskOption
from django_cfg.tasks import compat
from django_cfg.tasks.backends import registry
from django_cfg.tasks.management.imports.found import Found

if TYPE_CHECKING:
    from django_cfg.tasks.backends.backend import EngineBackend

TABLE = "django_tasks_database_dbtaskresult"
OLDER_TABLES = ("django_tasks_db_dbtaskresult",)
#: What its rows say where there is no `run_after`.
NO_TIME_YEAR = 9999
CHUNK = 200


def _model(table: str) -> Any:
    class Row(models.Model):
        id = models.UUIDField(primary_key=True)
        status = models.CharField(max_length=10)
        enqueued_at = models.DateTimeField()
        args_kwargs = models.JSONField()
        priority = models.IntegerField()
        task_path = models.TextField()
        queue_name = models.CharField(max_length=32)
        run_after = models.DateTimeField(null=True)

        class Meta:
            managed = False
            db_table = table
            app_label = "imported"
            apps = Apps()  # of its own: no migration, no model of this project

    return Row


def table_of(alias: str) -> str:
    """The table in this database.

    Raises:
        ConfigurationError: there is none.
    """
    names = connections[alias].introspection.table_names()
    for table in (TABLE, *OLDER_TABLES):
        if table in names:
            return table
    raise ConfigurationError(f"database {alias!r} has no table of django-tasks-db; name another with --database")


def look(alias: str) -> Found:
    """Count what is there."""
    rows = _model(table_of(alias)).objects.using(alias)
    found = Found(running=rows.filter(status="RUNNING").count())
    ready = rows.filter(status="READY").values("task_path").annotate(n=models.Count("pk")).order_by("task_path")
    for entry in ready:
        known = registry.known(entry["task_path"]) is not None
        (found.waiting if known else found.unknown)[entry["task_path"]] = entry["n"]
    return found


def move(alias: str, backend: EngineBackend, found: Found) -> None:
    """Enqueue what waits, oldest first, and delete its rows, both in one transaction for each chunk.

    What the backend refuses stays where it is, and harms no other.
    """
    model = _model(table_of(alias))
    ready = model.objects.using(alias).filter(status="READY", task_path__in=found.waiting)
    in_order = ready.order_by("enqueued_at", "pk")
    can_skip = connections[alias].features.has_select_for_update_skip_locked
    rest = in_order
    while True:
        with transaction.atomic(using=alias):
            rows = list(rest.select_for_update(skip_locked=can_skip)[:CHUNK])
            refused = {row.pk: text for row in rows if (text := _refusal(backend, row))}
            taken = [row.pk for row in rows if row.pk not in refused]
            model.objects.using(alias).filter(pk__in=taken).delete()
        found.moved += len(taken)
        found.refused += [f"{key}: {text}" for key, text in refused.items()]
        if len(rows) < CHUNK:
            return
        last = rows[-1]
        same_moment = models.Q(enqueued_at=last.enqueued_at, pk__gt=last.pk)
        rest = in_order.filter(models.Q(enqueued_at__gt=last.enqueued_at) | same_moment)


def _refusal(backend: EngineBackend, row: Any) -> str:
    """Take a row over; returns why that cannot be."""
    try:
        _take_over(backend, row)
    except (compat.InvalidTask, InvalidTaskOption, TypeError, ValueError) as error:
        return str(error)
    except LookupError as error:
        return f"its arguments lack {error}"
    return ""


def _take_over(backend: EngineBackend, row: Any) -> None:
    declared: Any = registry.known(row.task_path)
    has_time = row.run_after is not None and row.run_after.year != NO_TIME_YEAR
    task = declared.using(
        priority=row.priority,
        queue_name=row.queue_name,
        run_after=row.run_after if has_time else None,
        backend=backend.alias,
    )
    given = row.args_kwargs
    backend.take_over(task, given["args"], given["kwargs"], result_id=str(row.pk), enqueued_at=row.enqueued_at)
