"""The chores of schedules, for the keeper of `rundramatiq` and for `dramatiq_cron`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from django.db import connections
from dramatiq.logging import get_logger

from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.database.broker import no_tables
from django_cfg.tasks.conf import TaskSettings
from django_cfg.tasks.cron import store
from django_cfg.tasks.cron.declared import declared
from django_cfg.tasks.cron.history import forget
from django_cfg.tasks.cron.ping import ping_ended
from django_cfg.tasks.cron.ticker import Ticker
from django_cfg.tasks.models import Schedule
from django_cfg.tasks.worker.keeper import Chore

logger = get_logger(__name__)
UNTIL_TABLES_S = 10.0


def schedule_chores(broker: EngineBroker, settings: TaskSettings, *, always: bool = False) -> list[Chore]:
    """Ticking, pinging and forgetting; none where there can be no schedules.

    Parameters:
        always: also without any schedule in the code and without admin pages that could add one.

    Raises:
        CronError: a schedule in the code is wrong.
    """
    code = declared(settings)
    if not settings.enabled or not (always or code or settings.admin_enabled):
        return []
    alias = store.alias_of(broker)
    turns: dict[str, Callable[[], float]] = {
        "schedules": Ticker(broker, code).turn,
        "schedule pings": partial(ping_ended, broker, code),
        "schedule history": partial(forget, broker),
    }
    return [Chore(name, partial(_with_tables, alias, turn)) for name, turn in turns.items()]


_ready: set[str] = set()


def _with_tables(alias: str, turn: Callable[[], float]) -> float:
    """A database without our tables is told once in a while, not in every turn."""
    if alias not in _ready:
        if not has_tables(alias):
            logger.warning("Schedules do not tick: %s", no_tables(alias))
            return UNTIL_TABLES_S
        _ready.add(alias)
    return turn()


def has_tables(alias: str) -> bool:
    """Whether the tables of schedules exist.

    Raises:
        DatabaseError: the database does not answer.
    """
    return Schedule._meta.db_table in connections[alias].introspection.table_names()
