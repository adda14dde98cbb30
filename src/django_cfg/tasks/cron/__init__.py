"""Schedules: what is due when, and the ticker that enqueues each tick exactly once."""

from __future__ import annotations

from django_cfg.tasks.cron.declared import cron, interval

__all__ = ["cron", "interval"]
