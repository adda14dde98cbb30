"""INSTALLED_APPS and MIDDLEWARE: what this package and Django need, then the user's."""

from __future__ import annotations

from collections.abc import Iterable

TASKS_APP = "django_cfg.apps.tasks"
PROCESSES_APP = "django_prodserver"

CONTRIB_APPS = (
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
)

CONTRIB_MIDDLEWARE = (
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
)


def installed_apps(own: Iterable[str], *, with_tasks: bool, with_processes: bool = False) -> list[str]:
    """The tasks app first, because tasks are declared while later apps load their models."""
    tasks = (TASKS_APP,) if with_tasks else ()
    processes = (PROCESSES_APP,) if with_processes else ()
    return _once((*tasks, *processes, *CONTRIB_APPS, *own))


def middleware(own: Iterable[str]) -> list[str]:
    """Django's usual stack and then the user's; for another order write MIDDLEWARE in extra settings."""
    return _once((*CONTRIB_MIDDLEWARE, *own))


def _once(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
