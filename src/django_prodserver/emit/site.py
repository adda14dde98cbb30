"""Where and as whom the processes of a project run. No secrets: these come from files beside the units."""

from __future__ import annotations

import os
import pwd
import re
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from django_prodserver.launch import manage_command
from django_prodserver.plan import Plan

#: What is allowed above a process's own stop timeout before it is killed, in seconds.
MARGIN_S = 5
WEB_USER = "www-data"


@dataclass(frozen=True)
class Site:
    """A project on a machine or in an image.

    Attributes:
        project: its name, as units and containers may be called.
        user: who runs it; never root.
        manage: the words that call its commands on this machine.
    """

    project: str
    directory: Path
    user: str
    manage: tuple[str, ...]
    settings_module: str
    image: str

    @classmethod
    def of(cls, directory: Path, *, user: str, image: str) -> Site:
        project = slug(directory.name)
        return cls(
            project=project,
            directory=directory,
            user=user,
            manage=tuple(_absolute(manage_command())),
            settings_module=os.environ.get("DJANGO_SETTINGS_MODULE", ""),
            image=image or f"{project}:latest",
        )

    def command(self, name: str) -> list[str]:
        """The command line of a process on this machine."""
        return [*self.manage, "prodserver", name]

    def container_command(self, name: str) -> list[str]:
        """The same inside an image, where the project is the working directory."""
        manage = ["python", "manage.py"] if self.manage[-1].endswith("manage.py") else ["python", "-m", "django"]
        return [*manage, "prodserver", name]

    def unit(self, name: str) -> str:
        return f"{self.project}-{slug(name)}"


def _absolute(words: list[str]) -> list[str]:
    return [str(Path(word).resolve()) if word.endswith("manage.py") else word for word in words]


def slug(name: str) -> str:
    """A name that units, containers and Kubernetes accept."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "project"


def default_user(directory: Path) -> str:
    """The owner of the project; if that is root or unknown, the usual user of web servers."""
    uid = directory.stat().st_uid
    try:
        return pwd.getpwuid(uid).pw_name if uid else WEB_USER
    except KeyError:
        return WEB_USER


def stop_s(plan: Plan) -> int:
    """Seconds before a process may be killed: above what it needs itself."""
    return ceil(plan.facts.stop_s) + MARGIN_S


def port(plan: Plan) -> int | None:
    """Where it can be probed; None for workers and sockets."""
    return plan.facts.addresses[0][1] if plan.facts.addresses else None
