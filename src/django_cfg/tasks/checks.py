"""System checks: what needs Django to be seen. Those that connect carry `Tags.database`.

W001 an app whose models import tasks stands above the tasks app     W005 cache and queue in one Redis database
E002 a task on a queue that no worker serves                         W006 SQLite as the queue in production
W003 migrations of the tasks app are not applied                     W007 DEBUG in production
W004 more threads than the database has connections                  W008 SQLite options that lead to lock errors
W009 middleware that a correct engine needs was missing              W010 a middleware name that means another
W011 a database that cannot keep records                             E012 a records_database that does not exist
W013 isolation that makes claims wait
E020 a schedule that is wrong                                        E021 a schedule of a task that does not exist
I022 a schedule at a time that a change of clocks leaves out          W023 RabbitMQ's guest at another host
W024 USE_TZ is False
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import dramatiq
from django.apps import AppConfig, apps
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Info, Tags, Warning, register
from django.db import DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor

from django_cfg.errors import CronError
from django_cfg.tasks import conf
from django_cfg.tasks.brokers import stack
from django_cfg.tasks.brokers.amqp_url import is_guest_abroad
from django_cfg.tasks.brokers.database.broker import DatabaseBroker
from django_cfg.tasks.brokers.database.dialect import MYSQL
from django_cfg.tasks.brokers.redis_url import same_redis_database
from django_cfg.tasks.cron.declared import entries, make_tasks_known
from django_cfg.tasks.cron.due import Cron, clock_changes, ms_of
from django_cfg.tasks.cron.entry import Entry
from django_cfg.tasks.records.upsert import VENDORS
from django_cfg.tasks.worker.discover import discover

Apps = Sequence[AppConfig] | None
LABEL = "django_cfg_tasks"
READ_COMMITTED = "read committed"
#: What servers say about how many connections they allow.
CONNECTION_LIMIT = {"postgresql": "SHOW max_connections", MYSQL: "SELECT @@max_connections"}
#: Of one worker process: the exchange, its notifications, the recorder and the announcer.
CONNECTIONS_BESIDE_THREADS = 4


@register(Tags.compatibility)
def app_order(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """The tasks app comes before the project's own apps, so that their models may import tasks."""
    ours = False
    early = []
    for app in apps.get_app_configs():
        ours = ours or app.label == LABEL
        if not ours and not app.name.startswith("django."):
            early.append(app.name)
    if not early:
        return []
    text = f"These apps stand above 'django_cfg.apps.tasks' in INSTALLED_APPS: {', '.join(early)}."
    hint = "Put 'django_cfg.apps.tasks' first; a task that their models import finds no broker otherwise."
    return [Warning(text, hint=hint, id=f"{LABEL}.W001")]


@register(Tags.compatibility)
def unserved_queues(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """With queues configured, a task on another queue would wait for ever."""
    settings = conf.read()
    if settings.queues is None:
        return []
    discover(settings)
    return [
        Error(
            f"Task {actor.actor_name} is on queue {actor.queue_name!r}, which no worker serves.",
            hint=f"Add it to DramatiqConfig(queues=...) or use one of: {', '.join(settings.queues)}.",
            obj=f"{actor.fn.__module__}.{actor.actor_name}",
            id=f"{LABEL}.E002",
        )
        for actor in dramatiq.get_broker().actors.values()
        if actor.queue_name not in settings.queues
    ]


@register(Tags.compatibility)
def schedules(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Schedules name tasks that exist, and say what they do when clocks change."""
    settings = conf.read()
    discover(settings)
    try:
        code = entries(settings)
    except CronError as error:
        hint = "Schedules are read from TaskConfig.schedules, DRAMATIQ_CRON_JOBS, @cron and @interval."
        return [Error(str(error), hint=hint, id=f"{LABEL}.E020")]
    known = dramatiq.get_broker().actors
    if not known.keys() >= {entry.actor_name for entry in code.values()}:
        make_tasks_known()  # only now: a web server that starts need not wait for what nobody asks for
    unknown = [_unknown_task(entry) for entry in code.values() if entry.actor_name not in known]
    return [*unknown, *[note for entry in code.values() for note in _clock_notes(entry)]]


def _unknown_task(entry: Entry) -> CheckMessage:
    known = dramatiq.get_broker().actors
    close = difflib.get_close_matches(entry.actor_name, known, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"Declared tasks: {', '.join(sorted(known)) or 'none'}."
    text = f"Schedule {entry.name!r} runs the task {entry.actor_name!r}, which is not declared."
    return Error(text, hint=hint, id=f"{LABEL}.E021")


def _clock_notes(entry: Entry) -> list[CheckMessage]:
    rule = entry.timing.rule
    changes = clock_changes(rule, ms_of(datetime.now(UTC))) if isinstance(rule, Cron) else []
    return [
        Info(
            f"Schedule {entry.name!r}: {missing:%H:%M} does not exist on {missing:%d %b %Y} in {entry.timezone}.",
            hint=f"It runs at {instead:%H:%M} then. Times in UTC never change.",
            id=f"{LABEL}.I022",
        )
        for missing, instead in changes
    ]


@register(Tags.compatibility)
def middleware_list(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """What was added to, or read differently from, the list that the project wrote."""
    settings = conf.read()
    found: list[CheckMessage] = [
        Warning(
            f"Middleware {path} is taken as {stack.MEANT[path]}.",
            hint=f"Write {stack.MEANT[path]}.",
            id=f"{LABEL}.W010",
        )
        for path in settings.middleware
        if path in stack.MEANT
    ]
    missing = [] if settings.middleware_is_default else stack.missing_from(settings.middleware)
    if missing:
        text = f"The middleware list lacks {', '.join(missing)}; a correct engine needs them, so they were added."
        found.append(Warning(text, hint="Add them to the list to choose their order.", id=f"{LABEL}.W009"))
    return found


@register(Tags.caches)
def cache_apart(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """A cache that is cleared takes the tasks of its Redis database along."""
    url = conf.read().broker_url
    shared = [
        alias
        for alias, cache in django_settings.CACHES.items()
        if any(same_redis_database(url, place) for place in _places(cache.get("LOCATION", "")))
    ]
    if not shared:
        return []
    text = f"Cache {shared[0]!r} and the task queue share one Redis database; cache.clear() would delete tasks."
    return [Warning(text, hint="Use another database number, for example /2.", id=f"{LABEL}.W005")]


def _places(location: Any) -> list[str]:
    # Django splits a text in the same way: one URL for the primary, others for replicas.
    return re.split("[;,]", location) if isinstance(location, str) else list(location)


@register(Tags.security)
def rabbitmq_guest(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Everybody knows the name and the password of RabbitMQ's first user."""
    if not is_guest_abroad(conf.read().broker_url):
        return []
    text = "The broker URL uses RabbitMQ's user guest, whose password everybody knows, at another host."
    hint = "Make a user of its own: rabbitmqctl add_user, rabbitmqctl set_permissions."
    return [Warning(text, hint=hint, id=f"{LABEL}.W023")]


@register(Tags.security, deploy=True)
def production(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """DEBUG and SQLite are for one developer's machine."""
    found: list[CheckMessage] = []
    if django_settings.DEBUG:
        text = "DEBUG is on: worker processes would remember every SQL query until their memory is full."
        found.append(Warning(text, hint="Set debug=False in production.", id=f"{LABEL}.W007"))
    if _queue_vendor() == "sqlite":
        text = "The task queue is a SQLite file: one host, one writer at a time."
        hint = "Use PostgreSQL, MariaDB or a broker server for more than one host."
        found.append(Warning(text, hint=hint, id=f"{LABEL}.W006"))
    return found


@register(Tags.compatibility)
def sqlite_options(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Django's own SQLite defaults make concurrent writers fail with "database is locked"."""
    alias = _queue_alias()
    if alias is None or connections[alias].vendor != "sqlite":
        return []
    options = connections.settings[alias].get("OPTIONS", {})
    wanted = {
        "transaction_mode": options.get("transaction_mode", "").upper() in ("IMMEDIATE", "EXCLUSIVE"),
        "timeout": options.get("timeout", 0) >= 5,
        "init_command": "wal" in options.get("init_command", "").lower(),
    }
    lacking = [name for name, is_good in wanted.items() if not is_good]
    if not lacking:
        return []
    text = f"Database {alias!r} holds the queue without the SQLite options {', '.join(lacking)}."
    hint = (
        "OPTIONS = {'transaction_mode': 'IMMEDIATE', 'timeout': 20, "
        "'init_command': 'PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;'}"
    )
    return [Warning(text, hint=hint, id=f"{LABEL}.W008")]


@register(Tags.compatibility)
def records_database(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Records are upserts that only some databases can make safe against late writers."""
    alias = conf.read().records_database
    if alias not in connections:
        text = f"records_database names the database {alias!r}, which DATABASES does not have."
        return [Error(text, hint=f"Known: {', '.join(connections)}.", id=f"{LABEL}.E012")]
    vendor = connections[alias].vendor
    if vendor in VENDORS:
        return []
    text = f"Database {alias!r} is {vendor}: no records of tasks are kept there; the tasks themselves run."
    hint = f"Records need {' or '.join(VENDORS)}. Dead letters and results stay with the broker."
    return [Warning(text, hint=hint, id=f"{LABEL}.W011")]


@register(Tags.compatibility)
def moments(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Hours that come twice a year are no place for records: ours are moments with a zone."""
    if django_settings.USE_TZ:
        return []
    text = "USE_TZ is False: no record, rollup or failed attempt of a task can be written, and pages about them fail."
    return [Warning(text, hint="Set USE_TZ = True.", id=f"{LABEL}.W024")]


@register(Tags.compatibility)
def isolation(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Above READ COMMITTED, MySQL and MariaDB lock gaps between rows: claims then wait for each other and deadlock."""
    alias = _queue_alias()
    if alias is None or connections[alias].vendor != MYSQL:
        return []
    level = connections.settings[alias].get("OPTIONS", {}).get("isolation_level", READ_COMMITTED)
    if str(level).lower() == READ_COMMITTED:
        return []
    text = f"Database {alias!r} holds the queue with isolation_level {level!r}; workers would wait for each other."
    hint = f"Set OPTIONS['isolation_level'] = {READ_COMMITTED!r}, or leave it out: that is Django's default."
    return [Warning(text, hint=hint, id=f"{LABEL}.W013")]


@register(Tags.database)
def migrations_applied(app_configs: Apps, databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Workers need their tables."""
    found: list[CheckMessage] = []
    if sys.argv[1:2] == ["migrate"]:
        return found  # migrate runs these checks first, and would warn of what it is about to cure
    ours = {_queue_alias() or "default", conf.read().records_database}
    for alias in databases or []:
        if alias in ours and _pending(alias):
            text = f"Migrations of {LABEL} are not applied to database {alias!r}."
            found.append(Warning(text, hint=f"python manage.py migrate --database {alias}", id=f"{LABEL}.W003"))
    return found


def _pending(alias: str) -> bool:
    try:
        executor = MigrationExecutor(connections[alias])
        wanted = [key for key in executor.loader.graph.leaf_nodes() if key[0] == LABEL]
        return bool(executor.migration_plan(wanted))
    except DatabaseError:
        return False  # an unreachable database is the business of Django's own checks


@register(Tags.database)
def connection_budget(app_configs: Apps, databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Each thread holds a connection, and each process some for the queue, the records and its heartbeat."""
    settings = conf.read()
    needed = settings.processes * (settings.threads + CONNECTIONS_BESIDE_THREADS)
    found: list[CheckMessage] = []
    for alias in databases or []:
        limit = _connection_limit(alias)
        if limit is not None and needed > limit:
            text = (
                f"{settings.processes} processes x {settings.threads} threads may open {needed} connections to "
                f"{alias!r}, which allows {limit}."
            )
            hint = "Lower processes or threads, raise max_connections, or put a pooler between them."
            found.append(Warning(text, hint=hint, id=f"{LABEL}.W004"))
    return found


def _connection_limit(alias: str) -> int | None:
    question = CONNECTION_LIMIT.get(connections[alias].vendor)
    if question is None:
        return None
    try:
        with connections[alias].cursor() as cursor:
            cursor.execute(question)
            return int(cursor.fetchone()[0])
    except DatabaseError:
        return None  # as above


def _queue_alias() -> str | None:
    broker = dramatiq.get_broker()
    return broker.alias if isinstance(broker, DatabaseBroker) else None


def _queue_vendor() -> str | None:
    alias = _queue_alias()
    return connections[alias].vendor if alias is not None else None
