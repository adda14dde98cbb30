"""Old ticks go; a schedule's last one stays on its own row."""

from __future__ import annotations

from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.cron import store
from django_cfg.tasks.models import Tick
from django_cfg.units import MS_PER_DAY

KEPT_DAYS = 30
CHUNK = 1_000
EVERY_S = 3_600.0


def forget(broker: EngineBroker) -> float:
    """Delete a part of the ticks that were decided long ago; returns the seconds until the next time."""
    alias = store.alias_of(broker)
    _, now_ms = store.glance(alias)
    old = Tick.objects.using(alias).filter(decided_at__lt=now_ms - KEPT_DAYS * MS_PER_DAY).order_by("decided_at")
    ids = list(old.values_list("id", flat=True)[:CHUNK])
    Tick.objects.using(alias).filter(id__in=ids).delete()
    return EVERY_S if len(ids) < CHUNK else 0.1
