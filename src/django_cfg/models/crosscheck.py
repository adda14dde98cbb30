"""Problems between the parts of a project. Pure: the environment is an argument."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django_cfg.models.problem import Problem
from django_cfg.models.tasks.task import EMBEDDED_BROKER, TaskConfig
from django_cfg.redact import redact_url

_DATABASE_SCHEME = "database://"
_MAKE_A_KEY = 'python -c "import secrets; print(secrets.token_urlsafe(50))"'

# Settings that a field writes; the same setting in extra_settings would be a second home for one fact.
WRITTEN_BY = {
    "ALLOWED_HOSTS": "allowed_hosts",
    "CACHES": "cache_default",
    "DATABASES": "databases",
    "DEBUG": "debug",
    "DEFAULT_FROM_EMAIL": "email",
    "DJANGO_CFG_TASKS": "tasks",
    "DRAMATIQ_BROKER": "tasks",
    "EMAIL_BACKEND": "email",
    "EMAIL_FILE_PATH": "email",
    "EMAIL_HOST": "email",
    "EMAIL_HOST_PASSWORD": "email",
    "EMAIL_HOST_USER": "email",
    "EMAIL_PORT": "email",
    "EMAIL_TIMEOUT": "email",
    "EMAIL_USE_SSL": "email",
    "EMAIL_USE_TLS": "email",
    "INSTALLED_APPS": "installed_apps",
    "MAILERS": "email",
    "MIDDLEWARE": "middleware",
    "PRODUCTION_PROCESSES": "processes",
    "ROOT_URLCONF": "root_urlconf",
    "SECRET_KEY": "secret_key",
    "TELEGRAM": "telegram",
}


def is_debug(debug: bool | None, allowed_hosts: list[str], extra: Mapping[str, Any]) -> bool:
    """Debug as written; else on while no host is named, when Django answers to this machine alone."""
    written = extra.get("DEBUG", debug)
    return bool(written) if written is not None else not (allowed_hosts or extra.get("ALLOWED_HOSTS"))


def effective_tasks(tasks: TaskConfig | None, dramatiq_broker_url: str) -> TaskConfig | None:
    """The tasks that are configured: a broker URL alone is enough to ask for them."""
    if not dramatiq_broker_url:
        return tasks
    return (tasks or TaskConfig()).model_copy(update={"broker_url": dramatiq_broker_url})


def crosscheck(values: Mapping[str, Any], written: Mapping[str, bool]) -> Iterator[Problem]:
    """Everything that no single part can know.

    Args:
        values: the fields of a project that are right in themselves; wrong ones are left out.
        written: for each field whether its value differs from the default.
    """
    yield from _secret_key(values)
    yield from _two_brokers(values)
    yield from _aliases(values)
    yield from _set_twice(values, written)


def _secret_key(values: Mapping[str, Any]) -> Iterator[Problem]:
    if not {"secret_key", "debug", "allowed_hosts", "extra_settings"} <= values.keys():
        return
    extra = values["extra_settings"]
    debug = is_debug(values["debug"], values["allowed_hosts"], extra)
    if not debug and not values["secret_key"].get_secret_value() and not extra.get("SECRET_KEY"):
        cure = f"set it, or debug=True on your own machine; `{_MAKE_A_KEY}` makes one"
        yield Problem(("secret_key",), "secret_key is empty and debug is off", cure=cure)


def _two_brokers(values: Mapping[str, Any]) -> Iterator[Problem]:
    tasks, other = values.get("tasks"), values.get("dramatiq_broker_url")
    if tasks is None or not tasks.broker_url or not other or tasks.broker_url == other:
        return
    yield Problem(
        ("dramatiq_broker_url",),
        f"dramatiq_broker_url {redact_url(other)!r} and tasks.broker_url "
        f"{redact_url(tasks.broker_url)!r} name two brokers",
        cure="keep one of them; they are two spellings of one setting",
    )


def _aliases(values: Mapping[str, Any]) -> Iterator[Problem]:
    databases = values.get("databases")
    if not databases:
        return  # without any, SQLite is "default"
    if "default" not in databases:
        yield Problem(("databases",), "databases has no 'default', which Django needs", cure="rename one to 'default'")
    tasks = effective_tasks(values.get("tasks"), values.get("dramatiq_broker_url", ""))
    if tasks is None or "cache_default" not in values:
        return
    cache = values["cache_default"]
    broker = tasks.resolved_broker_url(cache.redis_url if cache else "")
    for field, url in (("broker_url", broker), ("result_backend", tasks.result_backend or "")):
        alias = url.removeprefix(_DATABASE_SCHEME)
        if url.startswith(_DATABASE_SCHEME) and alias not in databases and url != EMBEDDED_BROKER:
            known = ", ".join(sorted(databases))
            yield Problem(
                ("tasks", field),
                f"{field} {url!r} names no database of the project",
                cure=f"known: {known}",
            )


def _set_twice(values: Mapping[str, Any], written: Mapping[str, bool]) -> Iterator[Problem]:
    for setting in values.get("extra_settings", {}):
        field = WRITTEN_BY.get(setting)
        if field is not None and written.get(field):
            yield Problem(
                ("extra_settings", setting),
                f"{setting} is set twice, by {field} and by extra_settings",
                cure="remove one of them",
            )
