"""Deployment files from the same configuration that `prodserver NAME` starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from django_prodserver.emit import compose, kubernetes, procfile, supervisor, systemd
from django_prodserver.emit.site import Site
from django_prodserver.plan import Plan

#: Text of every file by its name.
Files = dict[str, str]
FORMATS: Mapping[str, Callable[[Sequence[Plan], Site], Files]] = {
    "systemd": systemd.files,
    "supervisor": supervisor.files,
    "compose": compose.files,
    "procfile": procfile.files,
    "kubernetes": kubernetes.files,
}


def emit(kind: str, plans: Sequence[Plan], site: Site) -> Files:
    """The files of one kind."""
    return FORMATS[kind](plans, site)
