"""The parts together: a whole project, and the settings that Django reads. Knows no Django."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr, field_validator

from django_cfg.errors import ConfigurationError
from django_cfg.models.cache import CacheConfig
from django_cfg.models.crosscheck import crosscheck, effective_tasks, is_debug
from django_cfg.models.database import DatabaseConfig
from django_cfg.models.email import EmailConfig
from django_cfg.models.part import Part
from django_cfg.models.problem import Problem, did_you_mean
from django_cfg.models.process import ProcessConfig
from django_cfg.models.tasks.broker_url import check_url
from django_cfg.models.tasks.names import check_dotted, check_unique
from django_cfg.models.tasks.task import TaskConfig
from django_cfg.models.telegram import TelegramConfig
from django_cfg.redact import redact_value
from django_cfg.settings import logs
from django_cfg.settings.apps import installed_apps, middleware
from django_cfg.settings.base_dir import find_base_dir
from django_cfg.settings.build import build, development_key
from django_cfg.settings.mail import NAMES as MAIL_NAMES
from django_cfg.settings.mail import mail_settings


def _setting_name(name: str) -> str:
    # Django ignores names that are not upper case, in silence.
    if not name.isidentifier() or not name.isupper():
        raise ConfigurationError(f"extra_settings: {name!r} is no setting; names are upper case, like {name.upper()!r}")
    return name


SettingName = Annotated[str, AfterValidator(_setting_name)]
App = Annotated[str, AfterValidator(lambda name: check_dotted("installed_apps", name, of="an app"))]
Middleware = Annotated[str, AfterValidator(lambda path: check_dotted("middleware", path, of="a middleware"))]


class DjangoConfig(Part):
    """A Django project. Subclass it, override fields as annotated class attributes, make one instance.

    `settings.py` is then `globals().update(config.get_all_settings())`.
    """

    project_name: str = Field(default="Django project", min_length=1, description="Name of the project.")
    debug: bool | None = Field(
        default=None, description="DEBUG; None: on while allowed_hosts is empty, so for this machine alone."
    )
    secret_key: SecretStr | str = Field(
        default=SecretStr(""),
        description='SECRET_KEY; "": a development key, and an error when debug is off.',
    )
    allowed_hosts: list[str] = Field(default_factory=list, description="ALLOWED_HOSTS.")
    installed_apps: Annotated[list[App], AfterValidator(lambda names: check_unique("installed_apps", names))] = Field(
        default_factory=list, description="Your apps, after Django's own."
    )
    middleware: Annotated[list[Middleware], AfterValidator(lambda names: check_unique("middleware", names))] = Field(
        default_factory=list, description="Your middleware, after Django's own."
    )
    root_urlconf: str = Field(default="", description='ROOT_URLCONF; "": none, for a project without pages.')
    databases: dict[str, DatabaseConfig] = Field(
        default_factory=dict, description="Databases by alias; none: SQLite in db.sqlite3."
    )
    cache_default: CacheConfig | None = Field(default=None, description="Default cache; None: memory of each process.")
    email: EmailConfig | None = Field(default=None, description="Mail; None: SMTP to localhost.")
    telegram: TelegramConfig | None = Field(default=None, description="Telegram bot; None: none.")
    tasks: TaskConfig | None = Field(default=None, description="Background tasks; None: none.")
    processes: dict[str, ProcessConfig] = Field(default_factory=dict, description="Production processes by name.")
    dramatiq_broker_url: str = Field(default="", description="Another spelling of tasks.broker_url.")
    extra_settings: dict[SettingName, Any] = Field(
        default_factory=dict, description="Settings of your own; they win over generated ones."
    )

    @field_validator("secret_key", mode="plain")
    @classmethod
    def _secret(cls, value: object) -> SecretStr:
        if not isinstance(value, str | SecretStr):
            raise ConfigurationError("secret_key must be text")
        return SecretStr(value) if isinstance(value, str) else value

    @field_validator("dramatiq_broker_url")
    @classmethod
    def _usable_broker(cls, value: str) -> str:
        return check_url("dramatiq_broker_url", value) if value else value

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[Problem]:
        """Between parts, in the process environment, and what a subclass declared against this class."""
        right, problems = DjangoConfig.read_fields(values)
        yield from problems
        yield from cls._unknown_fields()
        defaults = {n: f.get_default(call_default_factory=True) for n, f in DjangoConfig.model_fields.items()}
        yield from crosscheck(right, {name: value != defaults[name] for name, value in right.items()})
        level = os.environ.get(logs.LEVEL_VARIABLE, logs.DEFAULT_LEVEL)
        if level.upper() not in logs.LEVELS:
            yield Problem(
                (logs.LEVEL_VARIABLE,),
                f"{logs.LEVEL_VARIABLE} must be one of {', '.join(logs.LEVELS)}",
                source=f"variable {logs.LEVEL_VARIABLE}",
                got=redact_value(logs.LEVEL_VARIABLE, level),
            )

    @classmethod
    def _unknown_fields(cls) -> Iterator[Problem]:
        for name in cls.model_fields.keys() - DjangoConfig.model_fields.keys():
            yield Problem(
                (name,),
                f"unknown field {name!r}",
                cure=f"{did_you_mean(name, list(DjangoConfig.model_fields))}; "
                "a setting of your own belongs in extra_settings, another value in a ClassVar",
            )

    def get_all_settings(self) -> dict[str, Any]:
        """Everything that Django needs, as plain Python; for `globals().update(...)` in settings.py."""
        values = {name: getattr(self, name) for name in DjangoConfig.model_fields}
        # A subclass may have annotated a field more loosely; here the base class's types hold.
        declared, _ = DjangoConfig.read_fields(values)
        return DjangoConfig.model_construct(**declared)._settings(self._base_dir())

    def _base_dir(self) -> Path:
        if (written := self.extra_settings.get("BASE_DIR")) is not None:
            return Path(written)
        module = sys.modules.get(type(self).__module__)
        return find_base_dir(getattr(module, "__file__", None), Path.cwd())

    def _settings(self, base_dir: Path) -> dict[str, Any]:
        secret = self.secret_key if isinstance(self.secret_key, str) else self.secret_key.get_secret_value()
        return build(
            base_dir=base_dir,
            debug=is_debug(self.debug, self.allowed_hosts, self.extra_settings),
            secret_key=secret or development_key(self.project_name),
            root_urlconf=self.root_urlconf,
            pieces=[self._web(), self._stores(base_dir), self._messages(), self._background(), _logging()],
            extra=self.extra_settings,
        )

    def _web(self) -> dict[str, Any]:
        with_tasks = effective_tasks(self.tasks, self.dramatiq_broker_url) is not None
        return {
            "ALLOWED_HOSTS": list(self.allowed_hosts),
            "INSTALLED_APPS": installed_apps(
                self.installed_apps, with_tasks=with_tasks, with_processes=bool(self.processes)
            ),
            "MIDDLEWARE": middleware(self.middleware),
        }

    def _stores(self, base_dir: Path) -> dict[str, Any]:
        databases = self.databases or {"default": DatabaseConfig()}
        return {
            "DATABASES": {alias: part.to_django_config(base_dir) for alias, part in databases.items()},
            "CACHES": {"default": (self.cache_default or CacheConfig()).to_django_config()},
        }

    def _messages(self) -> dict[str, Any]:
        settings: dict[str, Any] = {}
        if self.email is not None or not MAIL_NAMES & self.extra_settings.keys():
            email = self.email or EmailConfig()
            settings |= mail_settings(email.mailer(), email.default_from_email, django_version())
        if self.telegram is not None:
            settings["TELEGRAM"] = self.telegram.to_django_config()
        return settings

    def _background(self) -> dict[str, Any]:
        settings: dict[str, Any] = {}
        tasks = effective_tasks(self.tasks, self.dramatiq_broker_url)
        if tasks is not None:
            cache_redis_url = self.cache_default.redis_url if self.cache_default else ""
            settings |= tasks.to_django_config(cache_redis_url=cache_redis_url)
        if self.processes:
            entries = {name: part.to_django_config() for name, part in self.processes.items()}
            settings["PRODUCTION_PROCESSES"] = entries
        return settings


def django_version() -> tuple[int, int]:
    """Major and minor of the installed Django, read without importing it."""
    major, minor = version("django").split(".")[:2]
    return int(major), int("".join(takewhile(str.isdigit, minor)))


def _logging() -> dict[str, Any]:
    level = os.environ.get(logs.LEVEL_VARIABLE, logs.DEFAULT_LEVEL)
    return {"LOGGING": logs.logging_settings(level.upper())}
