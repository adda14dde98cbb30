"""What differs between machines: environment variables over `.env` over YAML over defaults.

All problems of all sources are one error, each with the variable or the file and line it stands at.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any, Literal, Self

from pydantic import (
    Field,
    ModelWrapValidatorHandler,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from django_cfg.models.database import DatabaseConfig
from django_cfg.models.email import EmailConfig
from django_cfg.models.part import Part
from django_cfg.models.problem import CODE, Problem, failure, problems_of
from django_cfg.models.sources.dotenv_file import read_dotenv
from django_cfg.models.sources.layer import Entry, Layer, Path, merge, nested
from django_cfg.models.sources.variables import VariableReader
from django_cfg.models.sources.yaml_file import read_yaml
from django_cfg.models.tasks.broker_url import REDIS_SCHEMES, SENTINEL_SCHEMES, check_url
from django_cfg.models.tasks.dramatiq import DramatiqConfig
from django_cfg.models.telegram import TelegramConfig

PREFIX = "DJANGO_CFG_"
# Carries origins and problems from the sources to the validator; no field can have this name.
_REPORT = " report"


class RedisUrls(Part):
    """Addresses of Redis; `""` means that there is none."""

    tasks_url: str = Field(default="", description="Redis of background tasks.")
    cache_url: str = Field(default="", description="Redis of the cache.")

    @field_validator("tasks_url")
    @classmethod
    def _tasks(cls, value: str) -> str:
        return check_url("tasks_url", value, (*REDIS_SCHEMES, *SENTINEL_SCHEMES)) if value else value

    @field_validator("cache_url")
    @classmethod
    def _cache(cls, value: str) -> str:
        return check_url("cache_url", value, REDIS_SCHEMES) if value else value


class Environment(Part, BaseSettings):
    """Values of this machine. `env = Environment()` reads them; subclass it for sections of your own.

    `model_config = SettingsConfigDict(...)` of a subclass takes `env_prefix`, `env_nested_delimiter`,
    `env_file` (one or several, optional to exist) and `yaml_file` (must exist).
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", env_file=".env")

    environment: Literal["development", "test", "staging", "production"] = Field(
        default="development", description="What this machine is for."
    )
    debug: bool | None = Field(default=None, description="For DjangoConfig.debug.")
    secret_key: SecretStr = Field(default=SecretStr(""), description="For DjangoConfig.secret_key.")
    allowed_hosts: list[str] = Field(default_factory=list, description="For DjangoConfig.allowed_hosts.")
    redis: RedisUrls = Field(default_factory=RedisUrls, description="Addresses of Redis.")
    dramatiq: DramatiqConfig = Field(default_factory=DramatiqConfig, description="Workers and limits.")
    database: DatabaseConfig = Field(default_factory=DatabaseConfig, description="The default database.")
    email: EmailConfig = Field(default_factory=EmailConfig, description="Mail.")
    telegram: TelegramConfig | None = Field(default=None, description="Telegram bot; None: none.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, _LayeredSource(settings_cls, dotenv_settings), file_secret_settings

    @model_validator(mode="wrap")
    @classmethod
    def _name_origins(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(data, dict) or _REPORT not in data:
            return handler(data)
        report: _Report = data.pop(_REPORT)
        problems = list(report.problems)
        try:
            made = handler(data)
        except ValidationError as error:
            problems += report.explained(problems_of(error, CODE, list(cls.model_fields)))
        if problems:
            raise failure(cls.__name__, problems) from None
        return made


@dataclass(frozen=True, slots=True)
class _Report:
    origins: Mapping[Path, str]
    problems: list[Problem]
    reader: VariableReader

    def explained(self, problems: list[Problem]) -> Iterator[Problem]:
        """The problems with the place where each value was written, without those that a source reported."""
        reported = {problem.loc for problem in self.problems}
        for problem in problems:
            if problem.loc not in reported:
                yield replace(problem, source=self._source(problem), cure=problem.cure or self._cure(problem))

    def _source(self, problem: Problem) -> str:
        path = tuple(step for step in problem.loc if isinstance(step, str))
        for length in range(len(path), 0, -1):
            if (origin := self.origins.get(path[:length])) is not None:
                return origin
        # A whole section, or a field that is wrong only beside its neighbours.
        near = self._below(path) or (self._below(path[:-1]) if len(path) > 1 else [])
        return ", ".join(near) or problem.source

    def _below(self, path: Path) -> list[str]:
        return list(dict.fromkeys(o for known, o in self.origins.items() if known[: len(path)] == path))

    def _cure(self, problem: Problem) -> str:
        if problem.kind != "missing":
            return ""
        return f"set {self.reader.name_of(tuple(map(str, problem.loc)))}"


class _LayeredSource(YamlConfigSettingsSource):
    """All sources of a machine in one, because an error has to name the one that a value came from."""

    def __init__(self, settings_cls: type[BaseSettings], dotenv: PydanticBaseSettingsSource) -> None:
        # Not the parent's: it reads the file at once and forgets the lines. The parent stands there so that
        # pydantic-settings knows that the configuration key `yaml_file` is used.
        PydanticBaseSettingsSource.__init__(self, settings_cls)
        self.env_files = _files(dotenv.env_file if isinstance(dotenv, DotEnvSettingsSource) else None)

    def __call__(self) -> dict[str, Any]:
        config = self.settings_cls.model_config
        reader = VariableReader(
            self.settings_cls, config.get("env_prefix") or "", config.get("env_nested_delimiter") or "__"
        )
        yaml_layers = [read_yaml(file) for file in _files(config.get("yaml_file"))]
        merged = merge([*yaml_layers, *self._dotenv_layers(reader), self._variables(reader)])
        # Arguments in code win over every source; their problems must not name one.
        origins = {p: e.origin for p, e in merged.entries.items() if p[0] not in self.current_state}
        return nested(merged.entries) | {_REPORT: _Report(origins, merged.problems, reader)}

    def _variables(self, reader: VariableReader) -> Layer:
        return reader.read({name: Entry(value, f"variable {name}") for name, value in os.environ.items()})

    def _dotenv_layers(self, reader: VariableReader) -> Iterator[Layer]:
        for file in self.env_files:
            variables, problems = read_dotenv(file, os.environ)
            layer = reader.read(variables)
            layer.problems += problems
            yield layer


def _files(written: Any) -> list[FilePath]:
    if written is None:
        return []
    return [FilePath(file) for file in (written if isinstance(written, list | tuple) else [written])]
