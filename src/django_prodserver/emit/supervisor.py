"""One program a process, in one file for Supervisor."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from django_prodserver.emit.site import Site, stop_s
from django_prodserver.plan import Plan

RESTART = {"always": "true", "on-failure": "unexpected", "never": "false"}


def files(plans: Sequence[Plan], site: Site) -> dict[str, str]:
    programs = "\n".join(_program(plan, site, priority) for priority, plan in enumerate(plans, start=100))
    names = ",".join(site.unit(plan.name) for plan in plans)
    return {f"{site.project}.conf": f"{programs}\n[group:{site.project}]\nprograms={names}\n"}


def _program(plan: Plan, site: Site, priority: int) -> str:
    command = " ".join(_escaped(shlex.quote(word)) for word in site.command(plan.name))
    settings = f',DJANGO_SETTINGS_MODULE="{site.settings_module}"' if site.settings_module else ""
    lines = [
        f"[program:{site.unit(plan.name)}]",
        f"command={command}",
        f"directory={_escaped(str(site.directory))}",
        f"user={site.user}",
        f'environment=PYTHONUNBUFFERED="1"{settings}',
        f"priority={priority}",
        "autostart=true",
        f"autorestart={RESTART[plan.process.restart]}",
        "exitcodes=0,143",
        "stopsignal=TERM",
        # The main process alone is told to stop; what does not stop in time is killed with its children.
        "stopasgroup=false",
        "killasgroup=true",
        f"stopwaitsecs={stop_s(plan)}",
        "redirect_stderr=true",
        "stdout_logfile=/dev/stdout",
        "stdout_logfile_maxbytes=0",
    ]
    return "\n".join([*lines, ""])


def _escaped(text: str) -> str:
    return text.replace("%", "%%")
