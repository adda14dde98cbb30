"""One service a process, for Docker Compose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django_prodserver.emit.site import Site, port, slug, stop_s
from django_prodserver.emit.yaml_text import as_yaml
from django_prodserver.plan import Plan

#: The first ordinary user of a Debian image; no root, and no name that an image would have to know.
USER = "1000:1000"
RESTART = {"always": "unless-stopped", "on-failure": "on-failure", "never": "no"}


def files(plans: Sequence[Plan], site: Site) -> dict[str, str]:
    document = {"name": site.project, "services": {slug(plan.name): _service(plan, site) for plan in plans}}
    return {"compose.yaml": as_yaml([document])}


def _service(plan: Plan, site: Site) -> dict[str, Any]:
    service: dict[str, Any] = {
        "image": site.image,
        "build": ".",
        "command": [word.replace("$", "$$") for word in site.container_command(plan.name)],
        "user": USER,
        "environment": {"PYTHONUNBUFFERED": "1", **_settings(site)},
        "env_file": [{"path": ".env", "required": False}],
        "restart": RESTART[plan.process.restart],
        "stop_signal": "SIGTERM",
        "stop_grace_period": f"{stop_s(plan)}s",
        # Reaps what a worker's tasks leave behind.
        "init": True,
        "security_opt": ["no-new-privileges:true"],
    }
    if (number := port(plan)) is not None:
        service |= {"ports": [f"{number}:{number}"], "healthcheck": _health(number)}
    return service


def _settings(site: Site) -> dict[str, str]:
    return {"DJANGO_SETTINGS_MODULE": site.settings_module} if site.settings_module else {}


def _health(number: int) -> dict[str, Any]:
    # Slim images have no curl; Python is there.
    test = f"import socket; socket.create_connection(('127.0.0.1', {number}), 2).close()"
    return {"test": ["CMD", "python", "-c", test], "interval": "10s", "timeout": "5s", "start_period": "30s"}
