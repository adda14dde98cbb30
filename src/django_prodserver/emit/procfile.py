"""A Procfile: the command line of every process."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from django_prodserver.emit.site import Site
from django_prodserver.plan import Plan


def files(plans: Sequence[Plan], site: Site) -> dict[str, str]:
    return {"Procfile": "".join(f"{_name(plan.name)}: {_command(plan, site)}\n" for plan in plans)}


def _name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)


def _command(plan: Plan, site: Site) -> str:
    # exec: the shell in between would keep SIGTERM to itself.
    return f"exec {shlex.join(site.container_command(plan.name))}"
