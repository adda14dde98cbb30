"""Every option of the configuration is observed on a task that runs, from TaskConfig to the worker."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dramatiq
import pytest
from django.test import override_settings
from dramatiq import broker as dramatiq_broker
from dramatiq.middleware import Middleware, TimeLimitExceeded
from dramatiq.results import ResultFailure, ResultMissing

from django_cfg.errors import ConfigurationError, PayloadTooLarge, TasksDisabled
from django_cfg.models.tasks import DramatiqConfig, TaskConfig
from django_cfg.tasks import conf, queries
from django_cfg.tasks.brokers import make
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import DeadFilter
from django_cfg.tasks.brokers.process import identity
from django_cfg.tasks.models import TaskRecord, TaskResult
from django_cfg.testing.contracts import Client, Failing, dead_process, declare, message, working
from django_cfg.testing.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def configured(dramatiq_config: dict[str, Any] | None = None, **more: Any) -> Iterator[EngineBroker]:
    """The broker that a project with this configuration gets."""
    config = TaskConfig(broker_url="database://default", dramatiq=DramatiqConfig(**(dramatiq_config or {})), **more)
    before = dramatiq_broker.global_broker
    with override_settings(**config.to_django_config()):
        broker = make.make(conf.read())
        dramatiq.set_broker(broker)
        broker.flush_all()
        yield broker
        broker.flush_all()
    dramatiq_broker.global_broker = before


def failing(**options: Any) -> tuple[Any, list[float]]:
    runs: list[float] = []

    def fails() -> None:
        runs.append(time.monotonic())
        raise Failing("always")

    return declare(fails, **options), runs


def wait_for_death(sent: Any) -> ResultFailure:
    with pytest.raises(ResultFailure) as caught:
        sent.get_result(block=True, timeout=15_000)
    return caught.value


def test_defaults_of_a_hand_written_settings_file_are_those_of_the_configuration() -> None:
    with override_settings(**TaskConfig(broker_url="database://default").to_django_config()):
        written = conf.read()
    with override_settings(DJANGO_CFG_TASKS={}, DRAMATIQ_BROKER={}):
        assert dataclasses.asdict(conf.read()) == dataclasses.asdict(written)


@pytest.mark.parametrize("retries", [0, 1])
def test_max_retries(retries: int) -> None:
    with configured({"max_retries": retries, "min_backoff": 100, "max_backoff": 1000}) as broker:
        actor, runs = failing()
        with working(broker):
            wait_for_death(actor.send())
        assert len(runs) == retries + 1


def test_min_backoff_and_max_backoff() -> None:
    with configured({"max_retries": 1, "min_backoff": 1000, "max_backoff": 1000}) as broker:
        actor, runs = failing()
        with working(broker):
            wait_for_death(actor.send())
        assert 0.5 <= runs[1] - runs[0] < 5  # jitter takes half of max_backoff to all of it


def test_max_age() -> None:
    with configured({"max_age": 1000}) as broker:
        actor = declare(lambda: None, actor_name="aged")
        sent = actor.send()
        eventually(lambda: (queries.queue_stats()[0].oldest_pending_age_s or 0) > 1.0)
        with working(broker):
            assert "max_age" in str(wait_for_death(sent))


def test_time_limit() -> None:
    with configured({"time_limit": 200, "max_retries": 0}) as broker:

        def endless() -> None:
            while True:
                time.sleep(0.01)

        actor = declare(endless)
        with working(broker):
            assert wait_for_death(actor.send()).orig_exc_type == TimeLimitExceeded.__name__


def test_max_deliveries() -> None:
    with configured({"max_deliveries": 1}) as broker:
        broker.enqueue(message())
        Client(broker, dead_process()).claim()
        broker.sweep(identity())
        assert len(broker.dead_letters(DeadFilter(everything=True))) == 1


def test_lease_ms() -> None:
    with configured({"lease_ms": 7000}) as broker:
        assert broker.open_session(identity()).lease_ms == 7000


def test_queues_and_threads_reach_the_worker() -> None:
    with configured({"queues": ["one"], "threads": 3}) as broker:
        declare(lambda: None, actor_name="first", queue_name="one")
        declare(lambda: None, actor_name="second", queue_name="two")
        settings = conf.read()
        with working(broker, threads=settings.threads, queues=settings.queues) as worker:
            assert (len(worker.workers), worker.exchange.queues) == (3, ["one"])


def test_enabled_false_refuses_and_names_the_setting() -> None:
    with configured(enabled=False):
        actor = declare(lambda: None, actor_name="off")
        with pytest.raises(TasksDisabled, match="enabled=False"):
            actor.send()


def test_max_payload_bytes() -> None:
    with configured(max_payload_bytes=1000):
        actor = declare(lambda text: None, actor_name="big")
        with pytest.raises(PayloadTooLarge, match="1,000"):
            actor.send("x" * 1001)


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
def test_result_backend_may_be_another_database() -> None:
    with configured(result_backend="database://postgres") as broker:
        actor = declare(lambda: "kept", actor_name="kept")
        with working(broker):
            assert actor.send().get_result(block=True) == "kept"
        assert TaskResult.objects.using("postgres").count() == 1
        assert TaskResult.objects.using("default").count() == 0


def test_a_result_backend_that_does_not_exist_is_refused() -> None:
    for url, said in (("redis://localhost:6379/3", "keeps results in"), ("database://nowhere", "'nowhere'")):
        with pytest.raises(ConfigurationError, match=said), configured(result_backend=url):
            pass


def test_result_ttl_days() -> None:
    with configured(result_ttl_days=2) as broker:
        assert broker.get_results_backend() is not None
        results: Any = broker.middleware[-1]
        assert results.result_ttl == 2 * 86_400_000


def test_store_results_false_keeps_nothing_and_says_so() -> None:
    with configured() as broker:
        actor = declare(lambda: "gone", actor_name="gone", store_results=False)
        with working(broker):
            sent = actor.send()
            eventually(lambda: not broker.holds(sent.message_id))
            with pytest.raises(ResultMissing):
                sent.get_result(block=True)


@pytest.mark.parametrize(("admin", "kept"), [(True, {"good", "bad"}), (False, {"bad"})])
def test_admin_enabled_decides_what_is_recorded(admin: bool, kept: set[str]) -> None:
    with configured({"admin_enabled": admin, "max_retries": 0}) as broker:

        def bad() -> None:
            raise Failing("recorded")

        good, failing_actor = declare(lambda: None, actor_name="good"), declare(bad)
        with working(broker):
            good.send()
            wait_for_death(failing_actor.send())
        assert {r.task for r in TaskRecord.objects.all()} == kept


class Probe(Middleware):
    """A project's own middleware."""

    seen: list[str] = []

    def before_process_message(self, broker: Any, message: Any) -> None:
        Probe.seen.append(message.actor_name)


def test_the_middleware_list_is_used_and_completed() -> None:
    path = f"{Probe.__module__}.Probe"
    with configured({"middleware": ["dramatiq.middleware.AgeLimit", path]}) as broker:
        add = declare(lambda a, b: a + b, actor_name="add")
        with working(broker):
            assert (add.message(1, 2) | add.message(3)).run().get_result(block=True) == 6
    assert Probe.seen == ["add", "add"]


def test_prometheus_enabled_counts_tasks() -> None:
    with configured({"prometheus_enabled": True}) as broker:
        names = [type(m).__name__ for m in broker.middleware]
        assert "Metrics" in names
        actor = declare(lambda: 1, actor_name="counted")
        with working(broker):
            assert actor.send().get_result(block=True) == 1


def test_worker_conn_max_age_is_the_age_of_worker_connections() -> None:
    from django.db import connections

    ages: list[Any] = []
    before = dict(connections.settings["default"])
    try:
        with configured({"worker_conn_max_age": 17}) as broker:
            actor = declare(lambda: ages.append(connections["default"].settings_dict["CONN_MAX_AGE"]), actor_name="age")
            with working(broker):
                actor.send().get_result(block=True)
    finally:
        connections.settings["default"].update(before)
    assert ages == [17]


def test_shutdown_timeout_ms_processes_and_discovery_are_read_by_the_command() -> None:
    """Their effect on real processes is tested in tests/process; here: nothing is lost on the way."""
    given = {"shutdown_timeout_ms": 1234, "processes": 3}
    with configured(given, auto_discover_tasks=False, task_modules=["jobs"]):
        settings = conf.read()
        assert (settings.shutdown_timeout_ms, settings.processes) == (1234, 3)
        assert (settings.auto_discover_tasks, settings.task_modules) == (False, ("jobs",))
