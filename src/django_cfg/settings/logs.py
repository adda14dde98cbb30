"""LOGGING: everything to standard error at one level."""

from __future__ import annotations

from typing import Any

LEVEL_VARIABLE = "DJANGO_LOG_LEVEL"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
DEFAULT_LEVEL = "INFO"


def logging_settings(level: str) -> dict[str, Any]:
    """One console handler at the root.

    Django's own handlers on the logger `django` are taken away, so that no line appears twice.
    """
    line = "{asctime} {levelname} {name} [{process}] {message}"
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": line, "style": "{"}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["console"], "level": level},
        "loggers": {"django": {"handlers": [], "level": level, "propagate": True}},
    }
