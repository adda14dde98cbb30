"""Tells a dead-man switch that a scheduled run has ended: the URL itself after a success, `/fail` after a failure."""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from http.client import HTTPException, HTTPMessage
from typing import IO

from dramatiq.logging import get_logger

from django_cfg.errors import CronError
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import DeadFilter
from django_cfg.tasks.cron import store
from django_cfg.tasks.cron.entry import Entry, is_good_url
from django_cfg.tasks.models import Tick
from django_cfg.tasks.models.tick import PingState

logger = get_logger(__name__)
TIMEOUT_S = 10.0
EVERY_S = 2.0
AT_ONCE = 1_000


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect to where nobody should read the URL on the way."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if not is_good_url(newurl):
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_opener = urllib.request.build_opener(_SafeRedirects)


def ping_ended(broker: EngineBroker, code: Mapping[str, Entry]) -> float:
    """Ask the URLs of the runs that ended since the last time; returns the seconds until the next time."""
    alias = store.alias_of(broker)
    waiting = Tick.objects.using(alias).filter(ping=PingState.OPEN).select_related("schedule").order_by("id")
    for tick in waiting[:AT_ONCE]:
        if not store.is_held(broker, alias, tick.message_id, tick.decided_at) and _take(tick, alias):
            _ping(broker, tick, alias, code.get(tick.schedule.name))
    return EVERY_S


def _take(tick: Tick, alias: str) -> bool:
    """Whether this process is the one that asks."""
    mine = Tick.objects.using(alias).filter(id=tick.id, ping=PingState.OPEN).update(ping=PingState.DONE)
    return mine == 1


def _ping(broker: EngineBroker, tick: Tick, alias: str, code: Entry | None) -> None:
    url = _url(tick, code)
    if not url:
        return
    failed = broker.count_dead(DeadFilter(message_ids=(tick.message_id,))) > 0
    complaint = ask(url.rstrip("/") + "/fail" if failed else url)
    if complaint:
        logger.warning("The ping of schedule %s failed: %s", tick.schedule.name, complaint)
        Tick.objects.using(alias).filter(id=tick.id).update(ping=PingState.FAILED)


def _url(tick: Tick, code: Entry | None) -> str:
    try:
        entry = store.effective(tick.schedule, code)
    except CronError:
        return ""  # the ticker reports it
    return entry.ping_url if entry is not None else ""


def ask(url: str, timeout_s: float = TIMEOUT_S) -> str:
    """Ask a URL; returns what went wrong, or nothing. The URL is a secret and no part of it."""
    request = urllib.request.Request(url, headers={"User-Agent": "django-cfg-tasks"})
    try:
        with _opener.open(request, timeout=timeout_s):
            return ""
    except (OSError, HTTPException, ValueError) as error:
        return type(error).__name__ if url in str(error) else f"{type(error).__name__}: {error}"
