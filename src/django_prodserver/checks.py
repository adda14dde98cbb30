"""What must be right before a process may serve: errors stop it, warnings are printed."""

from __future__ import annotations

import ipaddress
import pkgutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_prodserver.plan import Plan

SHORT_KEY = 50
INSECURE_PREFIX = "django-insecure-"
#: Django's table of applied migrations.
APPLIED = "django_migrations"


def problems(plan: Plan) -> list[CheckMessage]:
    """Everything that speaks against starting this process now."""
    return [*_web(plan), *_secret_key(), *_sqlite(plan), *_migrations()]


def _web(plan: Plan) -> Iterator[CheckMessage]:
    if not plan.backend.is_web:
        return
    if settings.DEBUG:
        yield from _debug(plan)
    elif not settings.ALLOWED_HOSTS:
        yield Error("ALLOWED_HOSTS is empty: every request would be answered with 400.",
                    hint="Name the hosts that this site is reached by.", id="prodserver.E002")  # fmt: skip
    if "*" in settings.ALLOWED_HOSTS:
        yield Warning("ALLOWED_HOSTS allows every host.", hint="Name the hosts.", id="prodserver.W002")
    yield from _static_files()


def _debug(plan: Plan) -> Iterator[CheckMessage]:
    outside = [host for host, _ in plan.facts.addresses if not is_loopback(host)]
    if outside:
        yield Error(f"DEBUG is on and the server listens on {outside[0]}: anyone could read settings and source.",
                    hint="Set DEBUG = False, or bind to 127.0.0.1.", id="prodserver.E001")  # fmt: skip
    else:
        yield Warning("DEBUG is on.", hint="Set DEBUG = False for production.", id="prodserver.W001")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _secret_key() -> Iterator[CheckMessage]:
    if settings.DEBUG:
        return
    if settings.SECRET_KEY.startswith(INSECURE_PREFIX):
        yield Error(f"SECRET_KEY starts with {INSECURE_PREFIX!r}: it was made for development.",
                    hint="Make a new one and keep it out of the source.", id="prodserver.E003")  # fmt: skip
    elif len(settings.SECRET_KEY) < SHORT_KEY:
        yield Warning(f"SECRET_KEY has {len(settings.SECRET_KEY)} characters; {SHORT_KEY} or more are safe.",
                      id="prodserver.W003")  # fmt: skip


def _static_files() -> Iterator[CheckMessage]:
    if settings.DEBUG or not apps.is_installed("django.contrib.staticfiles"):
        return
    if not settings.STATIC_ROOT:
        yield Warning("STATIC_ROOT is not set, so static files cannot be collected.",
                      hint="Set it and run collectstatic.", id="prodserver.W004")  # fmt: skip
    elif not Path(settings.STATIC_ROOT).is_dir():
        yield Warning(f"STATIC_ROOT {str(settings.STATIC_ROOT)!r} does not exist.",
                      hint="Run collectstatic.", id="prodserver.W005")  # fmt: skip


def _sqlite(plan: Plan) -> Iterator[CheckMessage]:
    if plan.facts.processes < 2:
        return
    for alias in connections:
        database = connections[alias]
        options = database.settings_dict["OPTIONS"]
        if database.vendor == "sqlite" and options.get("transaction_mode") != "IMMEDIATE":
            yield Warning(
                f"{plan.facts.processes} processes share the SQLite database {alias!r} with deferred transactions: "
                "they will meet 'database is locked'.",
                hint='Set OPTIONS = {"transaction_mode": "IMMEDIATE", "timeout": 20, '
                '"init_command": "PRAGMA journal_mode=WAL;"}, or use one process.',
                id="prodserver.W006",
            )


def _migrations() -> Iterator[CheckMessage]:
    for alias in connections:
        try:
            missing = _count_missing(connections[alias])
        except DatabaseError as error:
            reason = str(error).strip().splitlines()[0]
            yield Warning(f"Migrations of {alias!r} could not be read: {reason}",
                          hint="Wait for it with --wait-for db.", id="prodserver.W007")  # fmt: skip
            continue
        if missing:
            yield Warning(f"{missing} migration{'' if missing == 1 else 's'} not applied to {alias!r}.",
                          hint="Run migrate.", id="prodserver.W008")  # fmt: skip


def _count_missing(connection: BaseDatabaseWrapper) -> int:
    if _on_disk() <= _applied(connection):
        return 0  # without importing a migration of any app, or what migrations are made of
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def _applied(connection: BaseDatabaseWrapper) -> set[tuple[str, str]]:
    with connection.cursor() as cursor:
        if APPLIED not in connection.introspection.table_names(cursor):
            return set()
        cursor.execute(f"SELECT app, name FROM {APPLIED}")
        return set(cursor.fetchall())


def _places(package: str) -> list[str]:
    """Its directories; none for an app that is a single module or has no migrations."""
    try:
        spec = find_spec(package)
    except ModuleNotFoundError:
        return []
    return list(spec.submodule_search_locations or []) if spec else []


def _on_disk() -> set[tuple[str, str]]:
    """App and name of every migration, chosen from the files as Django's loader does."""
    found = set()
    for app in apps.get_app_configs():
        package = settings.MIGRATION_MODULES.get(app.label, f"{app.name}.migrations")
        for file in pkgutil.iter_modules(_places(package) if package else []):
            if not file.ispkg and file.name[0] not in "_~":
                found.add((app.label, file.name))
    return found
