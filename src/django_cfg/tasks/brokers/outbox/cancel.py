"""An operator takes back what is not yet with the broker.

The row is marked and stays for a while: somebody may have read it already and be publishing it. Who published deletes
the rows without a mark, sees that one is left, and takes that message back from the broker (`rows.publish`).
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from django.db import transaction
from django.db.models.functions import Now
from dramatiq.logging import get_logger

from django_cfg.errors import BrokerUnreachable
from django_cfg.tasks.brokers.endings import CANCELLED, cancelled
from django_cfg.tasks.brokers.outbox.relay import with_outbox
from django_cfg.tasks.brokers.outbox.rows import Target, aged
from django_cfg.tasks.models import OutboxMessage

logger = get_logger(__name__)
#: Longer than anybody publishes.
KEPT = timedelta(minutes=10)


def cancel(broker: Target, message_id: str) -> bool:
    """Whether the message stood in an outbox; it is not published then. Part of the caller's transaction."""
    return any(_cancel(broker, alias, message_id) for alias in with_outbox())


def _cancel(broker: Target, alias: str, message_id: str) -> bool:
    here = aged(alias).filter(message_id=message_id, broker=broker.name).exclude(error=CANCELLED)
    body = here.values_list("body", flat=True).first()
    if body is None:
        return False
    # The order is gone by the time of the commit if the transaction is rolled back, and with it this word.
    transaction.on_commit(partial(_tell, broker, message_id, body), using=alias)
    these = OutboxMessage.objects.using(alias).filter(pk__in=list(here.values_list("pk", flat=True)))
    return these.exclude(error=CANCELLED).update(error=CANCELLED, free_at=Now() + KEPT) > 0


def _tell(broker: Target, message_id: str, body: str) -> None:
    """Who waits for the result hears of it now if the store answers, else from the keeper."""
    try:
        broker.store_result(message_id, cancelled(body))
    except BrokerUnreachable as error:
        logger.warning("Message %s is cancelled; who waits for its result learns of it later: %s", message_id, error)
