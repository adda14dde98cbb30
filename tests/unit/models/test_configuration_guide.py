"""The tables of the guide say what the models say: name, default, bounds, meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from annotated_types import Ge, Gt, Le, MaxLen, MinLen
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from django_cfg.models.cache import CacheConfig
from django_cfg.models.database import DatabaseConfig
from django_cfg.models.email import EmailConfig
from django_cfg.models.environment import Environment, RedisUrls
from django_cfg.models.process import ProcessConfig
from django_cfg.models.tasks import CronJob, DramatiqConfig, IntervalJob, TaskConfig
from django_cfg.models.telegram import TelegramConfig
from django_cfg.project import DjangoConfig

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "configuration.md"
MODELS = (
    DjangoConfig,
    TaskConfig,
    DramatiqConfig,
    CronJob,
    IntervalJob,
    CacheConfig,
    DatabaseConfig,
    EmailConfig,
    TelegramConfig,
    ProcessConfig,
    Environment,
    RedisUrls,
)


def row(name: str, field: FieldInfo) -> str:
    return f"| `{name}` | {_default(field)} | {_bounds(field)} | {field.description} |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return f"`{type(value).__name__}()`"
    if isinstance(value, SecretStr):
        return '`""`'
    if isinstance(value, list) and len(value) > 3:
        return "see below"
    if isinstance(value, str):
        return f'`"{value}"`'
    return f"`{value!r}`"


def _bounds(field: FieldInfo) -> str:
    found: dict[type, Any] = {type(rule): rule for rule in field.metadata}
    least, most = found.get(Ge), found.get(Le)
    if Gt in found:
        return f"above {found[Gt].gt}, up to {most.le}"
    if least and most:
        return f"{least.ge}–{most.le}"
    if least:
        return f"≥ {least.ge}"
    return "not empty" if MinLen in found and MaxLen not in found else ""


@pytest.mark.parametrize("model", MODELS)
def test_the_guide_has_every_field_with_its_default_and_bounds(model: type[BaseModel]) -> None:
    text = GUIDE.read_text(encoding="utf-8")

    missing = [line for line in (row(n, f) for n, f in model.model_fields.items()) if line not in text]

    assert missing == []
