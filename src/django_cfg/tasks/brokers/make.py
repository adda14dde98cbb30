"""From settings to a broker. Constructing one connects to nothing."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from urllib.parse import urlsplit

from django.utils.module_loading import import_string

from django_cfg.errors import BrokerURLError, ConfigurationError
from django_cfg.redact import redact_url
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.database.broker import DatabaseBroker
from django_cfg.tasks.brokers.stack import build
from django_cfg.tasks.brokers.stub import StubBroker
from django_cfg.tasks.conf import TaskSettings

Maker = Callable[[TaskSettings], EngineBroker]


def make(settings: TaskSettings) -> EngineBroker:
    """The broker that `DRAMATIQ_BROKER` names, with its middleware.

    Raises:
        BrokerURLError: a scheme that no broker here serves, or a host or port that is none.
        ConfigurationError: a middleware, an extra or a database that does not exist; a class that is no broker of
            ours.
    """
    if settings.broker_class:
        maker: Maker = _custom(settings.broker_class)
    else:
        refuse_unreadable(settings.broker_url)
        maker = MAKERS.get(urlsplit(settings.broker_url).scheme, _unknown)
    return maker(settings)


def refuse_unreadable(url: str) -> None:
    """Else it would be found at the first connection, by somebody who cannot cure it.

    Raises:
        BrokerURLError: a host or a port, of one server or of several, that is none.
    """
    try:
        for server in urlsplit(url).netloc.rpartition("@")[2].split(","):
            _ = urlsplit(f"//{server}").port
    except ValueError:  # its text may quote a part of the password
        raise BrokerURLError(
            f"broker_url {redact_url(url)!r}: its host or port cannot be read; a port is a number up to 65535, and "
            "/ ? # in a password are written as %2F %3F %23"
        ) from None


def _database(settings: TaskSettings) -> EngineBroker:
    middleware, results = build(settings)
    alias = _alias(settings.broker_url)
    broker = DatabaseBroker(settings, middleware, alias, _results_alias(settings) or alias)
    results.broker = broker
    return broker


def _alias(url: str) -> str:
    return urlsplit(url).netloc or "default"


def _results_alias(settings: TaskSettings) -> str | None:
    """The database that `result_backend` names; None where results stay with the broker."""
    url = settings.result_backend
    if url is None or url == settings.broker_url:
        return None
    if urlsplit(url).scheme != "database":
        raise BrokerURLError(
            f"result_backend {redact_url(url)!r}: this version keeps results in the broker's own store or in "
            "database://ALIAS; leave it out, or name a database"
        )
    return _alias(url)


def _redis(settings: TaskSettings) -> EngineBroker:
    if find_spec("redis") is None:
        raise ConfigurationError(
            f"broker_url {redact_url(settings.broker_url)!r} needs the extra redis: "
            "pip install 'django-cfg-tasks[redis]'"
        )
    if settings.result_backend not in (None, settings.broker_url):
        raise BrokerURLError("result_backend: the Redis broker keeps results beside its messages; leave it out")
    middleware, results = build(settings)
    # By name, because the client library is optional and slow to import.
    broker: EngineBroker = import_string("django_cfg.tasks.brokers.redis.broker.RedisBroker")(settings, middleware)
    results.broker = broker
    return broker


def _rabbitmq(settings: TaskSettings) -> EngineBroker:
    if find_spec("pika") is None:
        raise ConfigurationError(
            f"broker_url {redact_url(settings.broker_url)!r} needs the extra rabbitmq: "
            "pip install 'django-cfg-tasks[rabbitmq]'"
        )
    results_alias = _results_alias(settings)
    middleware, results = build(settings)
    # By name, because the client library is optional and slow to import.
    made = import_string("django_cfg.tasks.brokers.rabbitmq.broker.RabbitBroker")
    broker: EngineBroker = made(settings, middleware, results_alias)
    results.broker = broker
    return broker


def _stub(settings: TaskSettings) -> EngineBroker:
    middleware, results = build(settings)
    if _results_alias(settings) is not None:
        raise BrokerURLError("result_backend: the stub broker keeps results in memory; leave it out")
    broker = StubBroker(settings, middleware)
    results.broker = broker
    return broker


def _custom(path: str) -> Maker:
    def maker(settings: TaskSettings) -> EngineBroker:
        middleware, results = build(settings)
        broker: EngineBroker = made(settings, middleware, **settings.broker_options)
        results.broker = broker
        return broker

    made = import_string(path)
    if not (isinstance(made, type) and issubclass(made, EngineBroker)):
        raise ConfigurationError(
            f"DRAMATIQ_BROKER['BROKER'] {path!r} is not an EngineBroker; "
            "leave BROKER out, and OPTIONS['url'] chooses the broker"
        )
    return maker


def _unknown(settings: TaskSettings) -> EngineBroker:
    known = ", ".join(f"{scheme}://" for scheme in MAKERS)
    raise BrokerURLError(
        f"broker_url {redact_url(settings.broker_url)!r}: this version has brokers for {known}; "
        "write broker_url='database://default' to use the project's database"
    )


MAKERS: dict[str, Maker] = {
    "database": _database,
    **dict.fromkeys(("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "sentinel"), _redis),
    **dict.fromkeys(("amqp", "amqps"), _rabbitmq),
    "stub": _stub,
}
