"""Why background work does not run: facts, each with its cure."""

from __future__ import annotations

from django_cfg.tasks.doctor.fact import Fact, Finding
from django_cfg.tasks.doctor.one_task import examine_task
from django_cfg.tasks.doctor.project import examine_project

__all__ = ["Fact", "Finding", "examine_project", "examine_task"]
