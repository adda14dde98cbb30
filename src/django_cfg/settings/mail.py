"""Mail settings in the spelling of the Django version: MAILERS from 6.1 on, EMAIL_* below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAILERS_SINCE = (6, 1)

# Argument of a mailer and the setting that carried it before there were mailers.
_OLD_NAMES = {
    "file_path": "EMAIL_FILE_PATH",
    "host": "EMAIL_HOST",
    "password": "EMAIL_HOST_PASSWORD",
    "port": "EMAIL_PORT",
    "timeout": "EMAIL_TIMEOUT",
    "use_ssl": "EMAIL_USE_SSL",
    "use_tls": "EMAIL_USE_TLS",
    "username": "EMAIL_HOST_USER",
}
NAMES = frozenset({"MAILERS", "EMAIL_BACKEND", *_OLD_NAMES.values()})


def mail_settings(
    mailer: Mapping[str, Any], default_from_email: str, django_version: tuple[int, int]
) -> dict[str, Any]:
    """Settings of one mailer.

    Args:
        mailer: BACKEND and OPTIONS, as an entry of MAILERS has them.
        default_from_email: sender of mails that name none.
        django_version: major and minor; Django 6.1 refuses both spellings at once.
    """
    sender = {"DEFAULT_FROM_EMAIL": default_from_email}
    if django_version >= MAILERS_SINCE:
        return {"MAILERS": {"default": dict(mailer)}, **sender}
    old = {_OLD_NAMES[name]: value for name, value in mailer["OPTIONS"].items()}
    return {"EMAIL_BACKEND": mailer["BACKEND"], **old, **sender}
