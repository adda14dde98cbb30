"""Groups with completion callbacks, on tables: who has arrived, and who came last."""

from __future__ import annotations

from datetime import timedelta

from django.db import InterfaceError, InternalError, OperationalError, connections, transaction
from django.db.models.functions import Now

from django_cfg.errors import BrokerUnreachable
from django_cfg.tasks.models import GroupMember, TaskGroup

#: Groups that are over, deleted whenever another one is opened.
MOST_FORGOTTEN = 100


def open_group(alias: str, group_id: str, size: int, ttl_ms: int) -> bool:
    """Begin to count arrivals; False if the group is open already."""
    groups = TaskGroup.objects.using(alias)
    over = groups.filter(expires_at__lt=Now()).values_list("pk", flat=True)[:MOST_FORGOTTEN]
    groups.filter(pk__in=list(over)).delete()
    expires_at = Now() + timedelta(milliseconds=ttl_ms)
    _, is_new = groups.get_or_create(group_id=group_id, defaults={"size": size, "expires_at": expires_at})
    return is_new


def arrive(alias: str, group_id: str, message_id: str) -> bool:
    """Note that a member succeeded; True if it is the one that completed the group, however often it is asked.

    Raises:
        BrokerUnreachable: the database does not answer.
    """
    try:
        with transaction.atomic(using=alias):
            return _arrive(alias, group_id, message_id)
    except (OperationalError, InterfaceError, InternalError) as error:
        connections[alias].close()
        raise BrokerUnreachable(f"database {alias!r}: {error}") from error


def _arrive(alias: str, group_id: str, message_id: str) -> bool:
    group = TaskGroup.objects.using(alias).select_for_update().filter(pk=group_id).first()
    if group is None:
        return False
    _, is_new = GroupMember.objects.using(alias).get_or_create(group=group, message_id=message_id)
    if is_new:
        group.arrived += 1
        group.closer = message_id if group.arrived == group.size else ""
        group.save(using=alias)
    return group.closer == message_id
