"""Scaling of task workers by queue depth, as resources of KEDA."""

from __future__ import annotations

from typing import Any

from django_prodserver.backends.queue_depth import Trigger
from django_prodserver.emit.site import Site
from django_prodserver.plan import Plan

API = "keda.sh/v1alpha1"
LEAST, MOST = 1, 10
#: How long an empty queue must stay empty before workers are taken away, in seconds.
COOLDOWN_S = 300


def scales(plan: Plan) -> bool:
    return bool(plan.backend.queue_depth(plan.argv))


def scaling(plan: Plan, site: Site) -> list[dict[str, Any]]:
    """A ScaledObject, and what lets it read the secret; nothing for what does not scale."""
    triggers = plan.backend.queue_depth(plan.argv)
    if not triggers:
        return []
    name, secrets = site.unit(plan.name), {k: v for trigger in triggers for k, v in trigger.secrets.items()}
    scaled = {
        "apiVersion": API,
        "kind": "ScaledObject",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"name": name},
            "minReplicaCount": LEAST,
            "maxReplicaCount": MOST,
            "cooldownPeriod": COOLDOWN_S,
            "triggers": [_trigger(trigger, name) for trigger in triggers],
        },
    }
    return [scaled, *([_authentication(name, secrets, site)] if secrets else [])]


def _trigger(trigger: Trigger, name: str) -> dict[str, Any]:
    written: dict[str, Any] = {"type": trigger.kind, "metadata": trigger.metadata}
    return {**written, "authenticationRef": {"name": name}} if trigger.secrets else written


def _authentication(name: str, secrets: dict[str, str], site: Site) -> dict[str, Any]:
    refs = [{"parameter": parameter, "name": f"{site.project}-env", "key": key} for parameter, key in secrets.items()]
    return {
        "apiVersion": API,
        "kind": "TriggerAuthentication",
        "metadata": {"name": name},
        "spec": {"secretTargetRef": refs},
    }
