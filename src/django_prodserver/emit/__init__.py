"""Deployment files from the same configuration that `prodserver NAME` starts."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django_prodserver.emit.site import Site
    from django_prodserver.plan import Plan

#: Each is a module beside this one; found by name, so that a process that starts imports none of them.
FORMATS = ("compose", "kubernetes", "procfile", "supervisor", "systemd")


def emit(kind: str, plans: Sequence[Plan], site: Site) -> dict[str, str]:
    """The text of every file of one kind, by its name."""
    files: dict[str, str] = import_module(f"django_prodserver.emit.{kind}").files(plans, site)
    return files
