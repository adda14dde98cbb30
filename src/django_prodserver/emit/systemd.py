"""One service unit a process."""

from __future__ import annotations

from collections.abc import Sequence

from django_prodserver.emit.site import Site, stop_s
from django_prodserver.plan import Plan

RESTART = {"always": "always", "on-failure": "on-failure", "never": "no"}


def files(plans: Sequence[Plan], site: Site) -> dict[str, str]:
    return {f"{site.unit(plan.name)}.service": _unit(plan, site) for plan in plans}


def _unit(plan: Plan, site: Site) -> str:
    sections = {"Unit": _about(plan, site), "Service": _service(plan, site), "Install": ["WantedBy=multi-user.target"]}
    return "\n".join("\n".join([f"[{name}]", *lines, ""]) for name, lines in sections.items())


def _about(plan: Plan, site: Site) -> list[str]:
    return [
        f"Description={_escaped(f'{site.project}: {plan.name}')}",
        "After=network-online.target",
        "Wants=network-online.target",
        # Never stop trying: a database that is away for minutes must not need an operator.
        "StartLimitIntervalSec=0",
    ]


def _service(plan: Plan, site: Site) -> list[str]:
    return [
        "Type=exec",
        f"User={site.user}",
        f"WorkingDirectory={_escaped(str(site.directory))}",
        *([f"Environment=DJANGO_SETTINGS_MODULE={site.settings_module}"] if site.settings_module else []),
        "Environment=PYTHONUNBUFFERED=1",
        f"EnvironmentFile=-/etc/{site.project}.env",
        f"ExecStart={' '.join(_word(word) for word in site.command(plan.name))}",
        # Only the main process is told to stop; it tells its own. A second SIGTERM would mean "at once" to some.
        "KillMode=mixed",
        "KillSignal=SIGTERM",
        f"TimeoutStopSec={stop_s(plan)}",
        f"Restart={RESTART[plan.process.restart]}",
        "RestartSec=2",
        # Wrong configuration does not heal by itself.
        "RestartPreventExitStatus=2",
        # Some servers end by the signal that stopped them.
        "SuccessExitStatus=143",
        "NoNewPrivileges=yes",
        "PrivateTmp=yes",
    ]


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _word(word: str) -> str:
    word = _escaped(word).replace("\\", "\\\\").replace("$", "$$").replace('"', '\\"')
    return f'"{word}"' if any(char.isspace() for char in word) or "'" in word or ";" in word else word
