"""One database, by fields or by a URL; SQLite gets the options without which several processes lock each other out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr
from pydantic.fields import FieldInfo

from django_cfg.errors import ConfigurationError
from django_cfg.models.database_url import DatabaseAddress, read_url
from django_cfg.models.part import Part
from django_cfg.models.problem import Problem, did_you_mean
from django_cfg.redact import redact_value

ENGINES = ("mysql", "oracle", "postgresql", "sqlite3")
SQLITE = "django.db.backends.sqlite3"
SQLITE_FILE = "db.sqlite3"
_IN_MEMORY = (":memory:", "file:")

# A read that turns into a write fails at once under Django's deferred transactions, whatever the timeout;
# WAL lets readers and one writer work at the same time. NORMAL may lose the last commits on power loss,
# not on a crash; `PRAGMA synchronous=FULL` in `options` is the other choice.
SQLITE_OPTIONS: Mapping[str, Any] = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;",
}


def _engine(value: str) -> str:
    if value in ENGINES:
        return f"django.db.backends.{value}"
    if "." in value:
        return value
    shown = redact_value("engine", value)
    raise ConfigurationError(f"engine {shown} is neither a dotted path nor known; {did_you_mean(value, ENGINES)}")


def _url(value: str) -> str:
    if value:
        read_url(value)
    return value


class DatabaseConfig(Part):
    """One entry of `DATABASES`. `DatabaseConfig()` is SQLite in `db.sqlite3`."""

    url: Annotated[str, AfterValidator(_url)] = Field(
        default="", description='Engine, name, user, password, host, port and options in one; "": see those.'
    )
    engine: Annotated[str, AfterValidator(_engine)] = Field(
        default="sqlite3", description="sqlite3, postgresql, mysql, oracle, or the dotted path of a backend."
    )
    name: str = Field(default="", description='Database, or file of SQLite; "": db.sqlite3 for SQLite.')
    user: str = Field(default="", description="User name.")
    password: SecretStr = Field(default=SecretStr(""), description="Password.")
    host: str = Field(default="", description='Host or socket directory; "": the driver\'s default.')
    port: int | None = Field(default=None, ge=1, le=65_535, description="TCP port; None: the driver's default.")
    options: dict[str, Any] = Field(default_factory=dict, description="OPTIONS of the backend, over ours.")
    conn_max_age: int | None = Field(
        default=0,
        ge=0,
        description="Life of a connection in web processes, s; 0: one request; None: no limit.",
    )
    conn_health_checks: bool = Field(default=False, description="Test a kept connection before its next use.")
    atomic_requests: bool = Field(default=False, description="One transaction per request.")

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[Problem]:
        if values.get("url"):
            yield from _written_twice(values, read_url(values["url"]))
            return
        engine, options = values.get("engine"), values.get("options", {})
        if "url" in values and engine not in (None, SQLITE) and values.get("name") == "" and "service" not in options:
            yield Problem(("name",), f"name is empty, and {engine} needs one", cure="write the database's name")

    @property
    def is_sqlite(self) -> bool:
        return self.address().engine == SQLITE

    def address(self) -> DatabaseAddress:
        """Where the database is: what the URL says, and the fields for what it leaves open."""
        own = DatabaseAddress(
            self.engine, self.name, self.user, self.password.get_secret_value(), self.host, self.port, self.options
        )
        if not self.url:
            return own
        said = read_url(self.url)
        return DatabaseAddress(
            _engine(said.engine),
            said.name,
            said.user or own.user,
            said.password or own.password,
            said.host or own.host,
            said.port or own.port,
            {**said.options, **own.options},
        )

    def to_django_config(self, base_dir: Path) -> dict[str, Any]:
        """The entry for `DATABASES`.

        Args:
            base_dir: where a relative SQLite file lives, so that every process opens the same one.
        """
        found = self.address()
        ours = SQLITE_OPTIONS if found.engine == SQLITE else {}
        return {
            "ENGINE": found.engine,
            "NAME": _location(found, base_dir),
            "USER": found.user,
            "PASSWORD": found.password,
            "HOST": found.host,
            "PORT": "" if found.port is None else str(found.port),
            "OPTIONS": {**ours, **found.options},
            "CONN_MAX_AGE": self.conn_max_age,
            "CONN_HEALTH_CHECKS": self.conn_health_checks,
            "ATOMIC_REQUESTS": self.atomic_requests,
        }


def _location(found: DatabaseAddress, base_dir: Path) -> str:
    if found.engine != SQLITE or found.name.startswith(_IN_MEMORY):
        return found.name
    return str(base_dir / (found.name or SQLITE_FILE))


def _written_twice(values: Mapping[str, Any], said: DatabaseAddress) -> Iterator[Problem]:
    """What a field says that the URL says too; a password may stand beside a URL without one."""
    fields = DatabaseConfig.model_fields
    for name in ("engine", "name", "user", "password", "host", "port"):
        written = values.get(name)
        if written not in (None, _default_of(fields[name])) and getattr(said, name):
            yield Problem((name,), f"{name} is written beside a url that says it too", cure="keep one of them")


def _default_of(field: FieldInfo) -> Any:
    return SQLITE if field.default == "sqlite3" else field.default
