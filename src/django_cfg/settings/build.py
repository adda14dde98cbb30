"""The pieces together: one plain settings dict. Pure; everything it needs is an argument."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def development_key(project_name: str) -> str:
    """A key for DEBUG that stays the same between starts; Django's own check reports its prefix."""
    digest = hashlib.sha256(f"development key of {project_name}".encode()).hexdigest()
    return f"django-insecure-{digest}"


def templates(base_dir: Path) -> list[dict[str, Any]]:
    """Templates of apps, and of `templates/` beside manage.py where that exists."""
    own = base_dir / "templates"
    processors = (
        "django.template.context_processors.request",
        "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    )
    return [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "DIRS": [own] if own.is_dir() else [],
            "APP_DIRS": True,
            "OPTIONS": {"context_processors": list(processors)},
        }
    ]


def build(
    *,
    base_dir: Path,
    debug: bool,
    secret_key: str,
    root_urlconf: str,
    pieces: Iterable[Mapping[str, Any]],
    extra: Mapping[str, Any],
) -> dict[str, Any]:
    """The whole settings module as a dict.

    Args:
        root_urlconf: `""` leaves ROOT_URLCONF away, for projects that only run tasks.
        pieces: settings of single parts, merged in this order.
        extra: the user's own settings, which win.
    """
    settings: dict[str, Any] = {
        "BASE_DIR": base_dir,
        "DEBUG": debug,
        "SECRET_KEY": secret_key,
        "TEMPLATES": templates(base_dir),
        "STATIC_URL": "static/",
        "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
        "USE_TZ": True,
        "TIME_ZONE": "UTC",
    }
    if root_urlconf:
        settings["ROOT_URLCONF"] = root_urlconf
    for piece in pieces:
        settings.update(piece)
    return {**settings, **extra}
