"""Records in a database server keep the laws that they keep in SQLite."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from django.conf import settings
from django.db import connections

from django_cfg.tasks.lifecycle import Kind
from django_cfg.tasks.models import Attempt, ErrorGroup, Grain, Rollup, TaskRecord
from django_cfg.tasks.records.policy import Policy
from django_cfg.tasks.records.recorder import Recorder
from tests.unit.tasks.records.test_recorder import LIFE, event, put

pytestmark = pytest.mark.django_db(transaction=True, databases=list(settings.DATABASES))


@pytest.fixture(
    params=[
        pytest.param("postgres", marks=pytest.mark.postgres),
        pytest.param("mysql", marks=pytest.mark.mariadb),
    ]
)
def alias(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_order_of_writers_ends_with_the_newest_state(alias: str) -> None:
    for number, order in enumerate(itertools.permutations(LIFE)):
        for item in order:
            put(replace(item, message_id=f"m{number}"), alias=alias)
    found = TaskRecord.objects.using(alias).values_list("state", "attempts", "generation")
    assert set(found) == {("completed", 2, 2)}


def test_each_failed_attempt_is_kept_once_however_often_it_is_written(alias: str) -> None:
    put(*LIFE, alias=alias)
    put(*LIFE, alias=alias)
    assert Attempt.objects.using(alias).count() == 4


def test_a_recorder_writes_records_groups_of_errors_and_rollups(alias: str) -> None:
    recorder = Recorder(Policy.ALL, alias, {})
    for number in range(300):
        recorder.put(event(Kind.DONE, message_id=f"m{number}"))
    recorder.put(event(Kind.DEAD, message_id="failed", error="naïve 😀", fingerprint="f"))
    recorder.start()
    recorder.finish()
    assert TaskRecord.objects.using(alias).count() == 301
    assert ErrorGroup.objects.using(alias).get().seen == 1
    assert sum(Rollup.objects.using(alias).filter(grain=Grain.MINUTE).values_list("attempts", flat=True)) == 301


@pytest.mark.postgres
def test_a_connection_on_which_nothing_can_be_written_costs_no_record() -> None:
    """As one to the old server is after a failover."""
    recorder = Recorder(Policy.ALL, "postgres", {})
    recorder.put(event(Kind.DEAD))
    with connections["postgres"].cursor() as cursor:
        cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
    assert [recorder._turn(), recorder._turn()] == [False, True]
    assert TaskRecord.objects.using("postgres").count() == 1
