"""`host:port` of an address to listen on. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from django_cfg.errors import ConfigurationError

LOOPBACK = "127.0.0.1"
_SHAPE = re.compile(r"(?:(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._\-]+):|:)?(?P<port>\d{1,5})")


class Address(NamedTuple):
    """Where to listen."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse(text: str) -> Address:
    """From `127.0.0.1:8080`, `[::1]:8080`, or a port alone, which means this machine only. Port 0: a free one.

    Raises:
        ConfigurationError: it is none of these.
    """
    found = _SHAPE.fullmatch(text.strip())
    if found is None or int(found["port"]) > 65535:
        raise ConfigurationError(f"expected host:port with a port of 0-65535, got {text!r}")
    return Address((found["host"] or LOOPBACK).strip("[]"), int(found["port"]))
