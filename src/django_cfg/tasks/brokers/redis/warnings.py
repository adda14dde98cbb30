"""What about a Redis server puts tasks at risk, in words for whoever runs it."""

from __future__ import annotations

from collections.abc import Iterator

from django_cfg.errors import BrokerError, BrokerUnreachable
from django_cfg.tasks.brokers.redis.server import Server, text

OLDEST = (6, 2)


def server_warnings(server: Server) -> list[str]:
    """What is wrong with the server, or could not be looked at; empty when all is well."""
    return [*_version(server), *_settings(server)]


def _version(server: Server) -> Iterator[str]:
    try:
        hello = server.call("HELLO", 2)
    except BrokerUnreachable:
        raise
    except BrokerError:
        yield "not permitted to check the version of Redis (HELLO is refused)"
        return
    version = text(dict(zip(hello[::2], hello[1::2], strict=True))[b"version"])
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        yield f"Redis {version} is too old: 6.2 or newer is needed (LPOP with a count)"


def _settings(server: Server) -> Iterator[str]:
    try:
        policy, save, append = (_setting(server, name) for name in ("maxmemory-policy", "save", "appendonly"))
    except BrokerUnreachable:
        raise
    except BrokerError:
        yield "not permitted to check the settings of Redis (CONFIG is refused): see that it persists and never evicts"
        return
    if policy not in ("", "noeviction"):
        yield f"maxmemory-policy is {policy!r}: Redis may delete tasks when memory is short; set noeviction"
    if not save and append != "yes":
        yield "this Redis does not persist: a restart loses every task; set appendonly yes"
    elif append != "yes":
        yield "this Redis only saves snapshots: a crash loses what came since the last; set appendonly yes"


def _setting(server: Server, name: str) -> str:
    found = server.call("CONFIG", "GET", name)
    return text(found[1]) if found else ""
