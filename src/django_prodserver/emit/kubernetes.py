"""A Deployment a process, a Service for those that listen, and scaling by queue depth for task workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django_prodserver.emit import keda
from django_prodserver.emit.site import Site, port, stop_s
from django_prodserver.emit.yaml_text import as_yaml
from django_prodserver.plan import Plan

#: Any number but 0; an image need not know it.
USER_ID = 10001
API_NAME = "http"


def files(plans: Sequence[Plan], site: Site) -> dict[str, str]:
    documents = [document for plan in plans for document in _documents(plan, site)]
    return {"kubernetes.yaml": as_yaml(documents)}


def _documents(plan: Plan, site: Site) -> list[dict[str, Any]]:
    service = [] if port(plan) is None else [_service(plan, site)]
    return [_deployment(plan, site), *service, *keda.scaling(plan, site)]


def _labels(plan: Plan, site: Site) -> dict[str, str]:
    return {"app.kubernetes.io/part-of": site.project, "app.kubernetes.io/name": site.unit(plan.name)}


def _metadata(plan: Plan, site: Site) -> dict[str, Any]:
    return {"name": site.unit(plan.name), "labels": _labels(plan, site)}


def _deployment(plan: Plan, site: Site) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(plan, site),
        "spec": {
            # What a scaler decides must not be written here too.
            **({} if keda.scales(plan) else {"replicas": 1}),
            "selector": {"matchLabels": _labels(plan, site)},
            "template": {"metadata": {"labels": _labels(plan, site)}, "spec": _pod(plan, site)},
        },
    }


def _pod(plan: Plan, site: Site) -> dict[str, Any]:
    return {
        "terminationGracePeriodSeconds": stop_s(plan) + (0 if port(plan) is None else _PAUSE_S),
        "securityContext": {"runAsNonRoot": True, "runAsUser": USER_ID, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [_container(plan, site)],
    }


def _container(plan: Plan, site: Site) -> dict[str, Any]:
    environment = {"PYTHONUNBUFFERED": "1"}
    if site.settings_module:
        environment["DJANGO_SETTINGS_MODULE"] = site.settings_module
    return {
        "name": "main",
        "image": site.image,
        "command": [word.replace("$", "$$") for word in site.container_command(plan.name)],
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "envFrom": [{"secretRef": {"name": f"{site.project}-env", "optional": True}}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        **_listening(plan),
    }


#: For the endpoints to forget a pod before its server stops listening.
_PAUSE_S = 5


def _listening(plan: Plan) -> dict[str, Any]:
    number = port(plan)
    if number is None:
        return {}
    # A request would need a Host that ALLOWED_HOSTS knows; a connection needs nothing.
    probe = {"tcpSocket": {"port": API_NAME}, "timeoutSeconds": 2}
    return {
        "ports": [{"name": API_NAME, "containerPort": number}],
        "startupProbe": {**probe, "periodSeconds": 2, "failureThreshold": 60},
        "readinessProbe": {**probe, "periodSeconds": 5},
        "livenessProbe": {**probe, "periodSeconds": 10, "failureThreshold": 6},
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(_PAUSE_S)]}}},
    }


def _service(plan: Plan, site: Site) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(plan, site),
        "spec": {"selector": _labels(plan, site), "ports": [{"name": API_NAME, "port": 80, "targetPort": API_NAME}]},
    }
