"""Where a message stands, and who holds claims, on tables."""

from __future__ import annotations

from django.db.models import Count, OuterRef, Subquery
from django.db.models.functions import Coalesce

from django_cfg.tasks.brokers.contract import ProcessIdentity, SessionInfo, Whereabouts
from django_cfg.tasks.lifecycle import State
from django_cfg.tasks.models import QueueMessage, WorkerSession
from django_cfg.tasks.models.queue_message import MessageState
from django_cfg.units import ms_to_s

MOST_SESSIONS = 1000


def sessions(alias: str, now_ms: int) -> list[SessionInfo]:
    """The open sessions; those whose lease ended first come first."""
    mine = QueueMessage.objects.using(alias).filter(session=OuterRef("id")).order_by().values("session")
    held = Coalesce(Subquery(mine.annotate(n=Count("id")).values("n")), 0)
    found = WorkerSession.objects.using(alias).annotate(held=held).order_by("lease_until")[:MOST_SESSIONS]
    return [_info(session, session.held, now_ms) for session in found]


def _info(session: WorkerSession, held: int, now_ms: int) -> SessionInfo:
    process = ProcessIdentity(session.host_id, session.host, session.pid, session.process_started)
    return SessionInfo(process, ms_to_s(session.lease_until - now_ms), held)


def find(alias: str, message_id: str, now_ms: int) -> Whereabouts | None:
    """The message with this id, if it waits or runs."""
    message = QueueMessage.objects.using(alias).filter(message_id=message_id).first()
    if message is None:
        return None
    return Whereabouts(
        message_id=message_id,
        task=message.task,
        queue=message.queue,
        state=_state(message),
        age_s=ms_to_s(max(0, now_ms - message.enqueued_at)),
        due_in_s=ms_to_s(max(0, message.due_at - now_ms)),
        deliveries=message.deliveries,
        session=_holder(alias, message, now_ms),
    )


def _state(message: QueueMessage) -> State:
    if message.state == MessageState.CLAIMED:
        return State.RUNNING
    if message.state == MessageState.SCHEDULED:
        return State.RETRYING if message.is_retry else State.SCHEDULED
    return State.PENDING


def _holder(alias: str, message: QueueMessage, now_ms: int) -> SessionInfo | None:
    if message.session is None:
        return None
    session = WorkerSession.objects.using(alias).filter(id=message.session).first()
    held = QueueMessage.objects.using(alias).filter(session=message.session).count()
    return None if session is None else _info(session, held, now_ms)
