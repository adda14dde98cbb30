"""The health endpoint. One word for everybody; names, hosts and versions only for those who may see records."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from django_cfg.tasks.health import Recent, Report, Status
from django_cfg.tasks.service import queue_item

MAY_SEE = "django_cfg_tasks.view_worker"
_recent = Recent()


@never_cache
@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """200, or 503 when unhealthy. The whole report for a user with the permission `django_cfg_tasks.view_worker`."""
    found = _recent.get()
    body: dict[str, Any] = {"status": found.status.value}
    if _may_see(request):
        body |= details(found)
    return JsonResponse(body, status=503 if found.status is Status.UNHEALTHY else 200)


def _may_see(request: HttpRequest) -> bool:
    user = getattr(request, "user", None)  # a project without log-ins has none
    return user is not None and user.is_active and user.has_perm(MAY_SEE)


def details(found: Report) -> dict[str, Any]:
    facts = found.facts
    return {
        "reasons": [{"status": reason.status.value, "text": reason.text} for reason in found.reasons],
        "broker_latency_ms": None if facts.queues is None else facts.latency_ms,
        "queues": None if facts.queues is None else [queue_item(stats) for stats in facts.queues],
        "workers": None if facts.workers is None else [asdict(worker) for worker in facts.workers],
    }
