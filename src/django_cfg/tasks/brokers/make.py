"""From settings to a broker. Constructing one connects to nothing."""

from __future__ import annotations

from collections.abc import Callable
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
        BrokerURLError: a scheme that no broker here serves.
        ConfigurationError: a middleware, an extra or a database that does not exist; a class that is no broker of
            ours; results kept elsewhere.
    """
    if settings.broker_class:
        maker: Maker = _custom(settings.broker_class)
    else:
        maker = MAKERS.get(urlsplit(settings.broker_url).scheme, _unknown)
    broker = maker(settings)
    _refuse_other_results(settings)
    return broker


def _refuse_other_results(settings: TaskSettings) -> None:
    if settings.result_backend not in (None, settings.broker_url):
        raise ConfigurationError(
            f"result_backend {redact_url(settings.result_backend)!r}: this version keeps results beside the messages; "
            "leave result_backend out"
        )


def _database(settings: TaskSettings) -> EngineBroker:
    middleware, results = build(settings)
    broker = DatabaseBroker(settings, middleware, alias=urlsplit(settings.broker_url).netloc or "default")
    results.broker = broker
    return broker


def _stub(settings: TaskSettings) -> EngineBroker:
    middleware, results = build(settings)
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


MAKERS: dict[str, Maker] = {"database": _database, "stub": _stub}
