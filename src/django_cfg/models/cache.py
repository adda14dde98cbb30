"""The default cache: a Redis, or the memory of each process."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from django_cfg.models.part import Part
from django_cfg.models.tasks.broker_url import REDIS_SCHEMES, check_url

_REDIS = "django.core.cache.backends.redis.RedisCache"
_MEMORY = "django.core.cache.backends.locmem.LocMemCache"


class CacheConfig(Part):
    """Where Django's default cache lives. A Redis here is also the broker, under another database number."""

    redis_url: str = Field(default="", description='Redis of the cache; "": memory of each process.')
    key_prefix: str = Field(default="", description="Put before every key.")
    timeout_s: int | None = Field(default=300, ge=0, description="Life of an entry, s; 0: not kept; None: for ever.")
    options: dict[str, Any] = Field(default_factory=dict, description="OPTIONS of the cache backend.")

    @field_validator("redis_url")
    @classmethod
    def _usable(cls, value: str) -> str:
        return check_url("redis_url", value, REDIS_SCHEMES) if value else value

    def to_django_config(self) -> dict[str, Any]:
        """The entry for `CACHES`."""
        entry: dict[str, Any] = {"KEY_PREFIX": self.key_prefix, "TIMEOUT": self.timeout_s}
        if self.options:
            entry["OPTIONS"] = dict(self.options)
        if not self.redis_url:
            return {"BACKEND": _MEMORY, "LOCATION": "default", **entry}
        # Django splits a location at commas and semicolons into several servers.
        location = self.redis_url.replace(",", "%2C").replace(";", "%3B")
        return {"BACKEND": _REDIS, "LOCATION": location, **entry}
