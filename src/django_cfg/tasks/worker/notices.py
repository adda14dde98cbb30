"""Notices of new dead letters: grouped, and at most one in a while for each target, however many workers there are."""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils.module_loading import import_string

from django_cfg.errors import DjangoCfgError
from django_cfg.tasks import conf
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import DeadFilter, DeadLetterInfo
from django_cfg.tasks.conf import TaskSettings
from django_cfg.tasks.models import EngineState
from django_cfg.tasks.worker.keeper import Chore

logger = logging.getLogger(__name__)
#: By name: mail, Telegram and HTTP stand above the engine, and a project may use none of them.
SENDERS = {
    "mailto": "django_cfg.modules.task_notices.by_mail",
    "telegram": "django_cfg.modules.task_notices.by_telegram",
    "https": "django_cfg.modules.task_notices.by_webhook",
    "http": "django_cfg.modules.task_notices.by_webhook",
}
MOST_COUNTED = 1000
MOST_GROUPS = 20
LONGEST_ERROR = 200
EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Group:
    """Dead letters of one task on one queue that ended for the same reason."""

    task: str
    queue: str
    reason: str
    number: int
    newest_id: str
    error: str


@dataclass(frozen=True, slots=True)
class Notice:
    """What a target is told.

    Attributes:
        number: how many dead letters; at 1000 there may be more.
        groups: the largest first, twenty at most.
        within_s: the time in which they died.
    """

    number: int
    groups: tuple[Group, ...]
    within_s: float

    @property
    def subject(self) -> str:
        more = "or more " if self.number >= MOST_COUNTED else ""
        return f"{self.number} {more}new dead {'letter' if self.number == 1 else 'letters'}"

    @property
    def text(self) -> str:
        lines = [f"{self.subject} within {round(self.within_s)} s."]
        lines += [
            f"- {g.number} x {g.task} on {g.queue}: {g.reason}: {g.error} (newest: {g.newest_id})" for g in self.groups
        ]
        lines.append("Look: python manage.py dramatiq_doctor ID. Retry: python manage.py dramatiq_retry_failed --id ID")
        return "\n".join(lines)


def chores(broker: EngineBroker, settings: TaskSettings) -> list[Chore]:
    """One for each target of `TaskConfig.notices`."""
    return [Chore(f"notices to {shown(target)}", Teller(broker, settings, target).turn) for target in settings.notices]


def shown(target: str) -> str:
    """A target without its secrets: the path of a webhook often is one."""
    parts = urlsplit(target)
    return (
        f"{parts.scheme}:{parts.path}"
        if parts.scheme in ("mailto", "telegram")
        else f"{parts.scheme}://{parts.hostname}"
    )


class Teller:
    """Tells one target. Of all keepers of a broker one does, by a row in the database of the records."""

    def __init__(self, broker: EngineBroker, settings: TaskSettings, target: str) -> None:
        self._broker, self._settings, self._target = broker, settings, target
        self._name = "notice:" + hashlib.sha256(f"{target}{broker.name}".encode()).hexdigest()[:24]
        self._send: Callable[..., Any] = import_string(SENDERS[urlsplit(target).scheme])

    def turn(self) -> float:
        """Tell what died since the last time, if that was long enough ago; returns the seconds to the next look."""
        every_s = float(self._settings.notices_every_s)
        last_ms, now_ms = self._times()
        if last_ms is None:
            self._begin(now_ms)
            return every_s
        since_s = (now_ms - last_ms) / 1000
        if since_s < every_s:
            return every_s - since_s
        if self._take(last_ms, now_ms):
            self._tell(since_s, last_ms, now_ms)
        return every_s

    def _tell(self, since_s: float, last_ms: int, now_ms: int) -> None:
        letters = self._broker.dead_letters(DeadFilter(newer_than_s=since_s), MOST_COUNTED)
        if not letters:
            return
        is_sent = False
        try:
            self._send(self._target, notice(letters, since_s), frozenset(self._settings.notices_private_hosts))
            is_sent = True
        except (DjangoCfgError, OSError) as error:  # no traceback: it may quote the target, whose path is a secret
            logger.error("A notice to %s was not sent: %s: %s", shown(self._target), type(error).__name__, error)
        finally:
            if not is_sent:
                self._take(now_ms, last_ms)  # so that the next turn tells these too

    def _times(self) -> tuple[int | None, int]:
        """When the last notice was, and now; both by the database's clock."""
        alias = conf.records_alias()
        row = EngineState.objects.using(alias).filter(name=self._name).annotate(now=Now()).first()
        if row is not None:
            return row.value, _ms(row.now)
        return None, _ms(datetime.now(UTC))

    def _begin(self, now_ms: int) -> None:
        """What died before anybody was to be told is no news."""
        try:
            with transaction.atomic(using=conf.records_alias()):
                EngineState.objects.using(conf.records_alias()).create(name=self._name, value=now_ms)
        except IntegrityError:
            return  # another keeper was first

    def _take(self, before: int, after: int) -> bool:
        rows = EngineState.objects.using(conf.records_alias()).filter(name=self._name, value=before)
        return bool(rows.update(value=after))


def _ms(moment: datetime) -> int:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - EPOCH) // timedelta(milliseconds=1)


def notice(letters: Iterable[DeadLetterInfo], within_s: float) -> Notice:
    """Dead letters, newest first, as one notice."""
    found = list(letters)
    groups: dict[tuple[str, str, str], list[DeadLetterInfo]] = defaultdict(list)
    for letter in found:
        groups[letter.task, letter.queue, letter.reason].append(letter)
    largest = sorted(groups.items(), key=lambda item: -len(item[1]))[:MOST_GROUPS]
    return Notice(len(found), tuple(_group(key, members) for key, members in largest), within_s)


def _group(key: tuple[str, str, str], members: list[DeadLetterInfo]) -> Group:
    task, queue, reason = key
    error = " ".join(members[0].error.split())[:LONGEST_ERROR]
    return Group(task, queue, reason, len(members), members[0].message_id, error)
