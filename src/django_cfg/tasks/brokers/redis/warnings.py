"""What about a Redis server puts tasks at risk, in words for whoever runs it."""

from __future__ import annotations

from collections.abc import Iterator

from django_cfg.errors import BrokerError, BrokerUnreachable
from django_cfg.tasks.brokers.redis.link import Link
from django_cfg.tasks.brokers.redis.server import Server, text

OLDEST = (6, 2)
#: How many databases a server has unless its configuration says otherwise.
DATABASES = 16


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
        what = "tasks" if policy.startswith("allkeys-") else "results"
        yield f"maxmemory-policy is {policy!r}: Redis may delete {what} when memory is short; set noeviction"
    if not save and append != "yes":
        yield "this Redis does not persist: a restart loses every task; set appendonly yes"
    elif append != "yes":
        yield "this Redis only saves snapshots: a crash loses what came since the last; set appendonly yes"


def eviction_policy(server: Server) -> str:
    """What the server deletes when memory is short; empty where we may not ask."""
    try:
        return _setting(server, "maxmemory-policy")
    except BrokerUnreachable:
        raise
    except BrokerError:
        return ""


def _setting(server: Server, name: str) -> str:
    found = server.call("CONFIG", "GET", name)
    return text(found[1]) if found else ""


def other_databases(server: Server) -> list[int]:
    """Databases of this server, other than ours, that hold messages or queues under our prefix."""
    ours = server.database
    link = server.link()
    try:
        return [number for number in range(DATABASES) if number != ours and _holds_ours(link, server, number)]
    except BrokerUnreachable:
        raise
    except BrokerError:
        return []  # fewer databases, a cluster, or a user who may not select: there is nothing to find
    finally:
        link.close()


def _holds_ours(link: Link, server: Server, number: int) -> bool:
    link.call("SELECT", number)
    return bool(link.call("EXISTS", server.keys.messages, server.keys.queues))
