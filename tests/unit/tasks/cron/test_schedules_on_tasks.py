"""Django's own tasks run by the clock as actors do, with a result that Django can read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import override_settings

from django_cfg.tasks import checks, conf
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.compat import TaskResultStatus, task_backends
from django_cfg.tasks.cron import cron, store
from django_cfg.tasks.cron import declared as declaring
from django_cfg.tasks.cron.declared import declared
from django_cfg.tasks.models import Schedule
from django_cfg.testing import drain
from tests.contract import work
from tests.contract.conftest import serving
from tests.unit.tasks.cron.clock import Clock, scheduler

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


@pytest.fixture(params=["database://default", "stub://"])
def broker(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[EngineBroker]:
    noted = dict(declaring._noted)
    declaring._noted.clear()
    yield from serving(request.param)
    declaring._noted.clear()
    declaring._noted.update(noted)
    work.declare_again()


def test_a_task_of_django_runs_by_the_clock(broker: EngineBroker) -> None:
    cron("* * * * *", name="adding", args=[1], kwargs={"b": 2})(work.add)
    clock = Clock("2026-06-01T00:00:30Z")
    code = declared(conf.read())
    assert code["adding"].actor_name == work.add.module_path
    one = scheduler(broker, clock, code)
    clock.set("2026-06-01T00:01:00Z")
    one.turn()
    row = Schedule.objects.using(store.alias_of(broker)).get(name="adding")
    waiting = task_backends["default"].get_result(row.last_message_id)
    assert waiting.status == TaskResultStatus.READY
    assert drain() == 1
    result = task_backends["default"].get_result(row.last_message_id)
    assert (result.status, result.return_value) == (TaskResultStatus.SUCCESSFUL, 3)


def test_the_check_knows_tasks_of_django(broker: EngineBroker) -> None:
    with override_settings(DRAMATIQ_CRON_JOBS=[{"actor_name": work.add.module_path, "cron": "@daily"}]):
        assert [note.id for note in checks.schedules(None)] == []
