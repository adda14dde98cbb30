"""Schedules with real schedulers: started in threes, killed in the middle, stopped and woken. One run per tick."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as test_settings

from django_cfg.testing.waiting import eventually
from tests.process.conftest import Project, Workers, other_clock

pytestmark = pytest.mark.process
EVERY_SECOND = [{"actor_name": "quick", "every_s": 1, "name": "second", "missed": "all"}]


@contextmanager
def postgres() -> Iterator[dict[str, Any]]:
    """A database of this test alone."""
    import psycopg

    name = f"django_cfg_schedules_{test_settings.CHECKOUT}_{os.getpid()}"
    found = test_settings.DATABASES["postgres"]
    keys = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD", "dbname": "NAME"}
    with psycopg.connect(**{ours: found[theirs] for ours, theirs in keys.items()}, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield {**{key: found[key] for key in ("ENGINE", "HOST", "PORT", "USER", "PASSWORD")}, "NAME": name}
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


REDIS = """
DRAMATIQ_BROKER = {{"OPTIONS": {{"url": {url!r}}}}}
DJANGO_CFG_TASKS["redis_key_prefix"] = {prefix!r}
"""
STORES = [
    "sqlite",
    pytest.param("postgres", marks=pytest.mark.postgres),
    pytest.param("redis", marks=pytest.mark.redis),
]


@pytest.fixture(params=STORES)
def each_second(request: pytest.FixtureRequest, project: Project) -> Iterator[Project]:
    """A project with a schedule of every second: on SQLite, on PostgreSQL, and on Redis with its outbox in SQLite."""
    if request.param == "postgres":
        with postgres() as database:
            yield project.write(database, processes=1, schedules=EVERY_SECOND)
            project.finish()
        return
    project.write(processes=1, schedules=EVERY_SECOND)
    if request.param == "redis":
        prefix = f"cron-{test_settings.CHECKOUT}-{os.getpid()}"
        with (project.path / "settings.py").open("a") as settings:
            settings.write(REDIS.format(url=test_settings.REDIS_URL, prefix=prefix))
    yield project
    project.finish()
    project.run("dramatiq.get_broker().flush_all()")


def is_ready(workers: Workers) -> bool:
    return "supervisor pid" in workers.log


TICKS = """
from django_cfg.tasks.models import Tick
for tick in Tick.objects.order_by('nominal_at'):
    print(tick.kind, tick.state, tick.nominal_at, tick.message_id or '-', sep='|')
"""


def ticks(project: Project) -> list[tuple[str, ...]]:
    return [tuple(line.split("|")) for line in project.run(TICKS)]


def keeper_of(workers: Workers) -> int:
    """It holds the schedules' threads."""
    [pid] = workers.named("keeper")
    return pid


def each_second_once(project: Project) -> bool:
    """Every due time between the first and the last has one tick and one message, which ran once or waits."""
    found = ticks(project)
    times = sorted(int(nominal) for kind, _, nominal, _ in found)
    assert {(kind, state) for kind, state, _, _ in found} == {("due", "enqueued")}
    assert times == list(range(times[0], times[-1] + 1, 1000))
    runs = project.ids("end")
    assert set(runs.values()) <= {1}
    waiting = project.run("for m in dramatiq.get_broker().peek('default', 1000): print(m.message_id)")
    return sorted([*runs, *waiting]) == sorted(message_id for *_, message_id in found)


def test_three_schedulers_enqueue_each_tick_once_though_one_is_killed_and_one_is_stopped(
    each_second: Project,
) -> None:
    project = each_second
    three = [project.start(until=is_ready) for _ in range(3)]
    eventually(lambda: len(project.ids("end")) >= 2, within_s=20)
    os.kill(keeper_of(three[0]), signal.SIGKILL)
    stopped = keeper_of(three[1])
    os.kill(stopped, signal.SIGSTOP)
    before = len(project.ids("end"))
    eventually(lambda: len(project.ids("end")) >= before + 4, within_s=30)
    os.kill(stopped, signal.SIGCONT)
    before = len(project.ids("end"))
    eventually(lambda: len(project.ids("end")) >= before + 2, within_s=20)
    assert [workers.stop() for workers in three] == [0, 0, 0]
    assert each_second_once(project)


KILLED_BETWEEN = """
import os, signal
from django_cfg.tasks import conf
from django_cfg.tasks.cron.declared import declared
from django_cfg.tasks.cron.ticker import Ticker
broker = dramatiq.get_broker()
broker.store = lambda batch: os.kill(os.getpid(), signal.SIGKILL)
ticker = Ticker(broker, declared(conf.read()))
import time
while True:
    time.sleep(ticker.turn())
"""


OUTBOX = """
from django_cfg.tasks.models import OutboxMessage
for row in OutboxMessage.objects.all():
    print(row.message_id)
"""


def test_a_scheduler_that_dies_between_the_row_and_the_message_leaves_neither_or_both(
    each_second: Project,
) -> None:
    project = each_second
    with pytest.raises(AssertionError):
        project.run(KILLED_BETWEEN)
    on_its_way = project.run(OUTBOX)
    assert project.counts() == Counter() and [message_id for *_, message_id in ticks(project)] == on_its_way
    workers = project.start(until=is_ready)
    eventually(lambda: len(project.ids("end")) >= 3 and set(on_its_way) <= set(project.ids("end")), within_s=30)
    assert workers.stop() == 0
    assert each_second_once(project)


def test_ticks_that_were_missed_while_no_scheduler_ran_are_caught_up_once(
    each_second: Project,
) -> None:
    project = each_second
    first = project.start(until=is_ready)
    eventually(lambda: len(project.ids("end")) >= 1, within_s=20)
    assert first.stop() == 0
    before = len(ticks(project))
    two = [project.start(until=is_ready) for _ in range(2)]
    eventually(lambda: len(project.ids("end")) >= before + 3, within_s=20)
    assert [workers.stop() for workers in two] == [0, 0]
    assert each_second_once(project)


def keepers_below(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in children.read_text().split()]


def test_dramatiq_cron_ticks_alone_also_after_a_reload_and_ends_when_it_is_told(project: Project) -> None:
    project.write(processes=1, schedules=EVERY_SECOND)
    process = subprocess.Popen(
        [sys.executable, "manage.py", "dramatiq_cron"],
        cwd=project.path,
        env=project._env(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        eventually(lambda: len(ticks(project)) >= 2, within_s=20)
        [before] = keepers_below(process.pid)
        process.send_signal(signal.SIGHUP)
        eventually(lambda: (now := keepers_below(process.pid)) and len(now) == 1 and now != [before], within_s=30)
        seen = len(ticks(project))
        eventually(lambda: len(ticks(project)) >= seen + 2, within_s=20)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0, output
    assert "dramatiq_cron: schedules tick; supervisor pid" in output and "Traceback" not in output
    assert project.counts() == Counter(pending=len(ticks(project)))


def covered_s(project: Project) -> list[int]:
    """Every due second that a tick or a gap speaks of, in order."""
    seconds: list[int] = []
    for first, last in (map(int, line.split("|")) for line in project.run(SPANS)):
        seconds += range(first // 1000, last // 1000 + 1)
    return sorted(seconds)


SPANS = """
from django_cfg.tasks.models import Tick
for tick in Tick.objects.all():
    print(tick.first_at, tick.nominal_at, sep='|')
"""


def test_a_clock_that_jumps_ahead_and_back_repeats_no_tick_and_hides_none(project: Project) -> None:
    offset = project.path / "offset"
    each = [{"actor_name": "quick", "every_s": 1, "name": "second", "missed": "latest"}]
    project.write(processes=1, schedules=each)
    offset.write_text("+0s")
    moved = other_clock(project, FAKETIME_TIMESTAMP_FILE=str(offset), FAKETIME_NO_CACHE="1")
    two = [project.start(until=is_ready, **moved) for _ in range(2)]
    for jump in ("+0s", "+3600s", "+3597s"):
        offset.write_text(jump)
        before = len(project.ids("end"))
        eventually(lambda: len(project.ids("end")) >= before + 3, within_s=30)  # noqa: B023 (called at once)
    assert [workers.stop() for workers in two] == [0, 0]
    found = covered_s(project)
    assert found == list(range(found[0], found[-1] + 1)) and len(found) > 3600
    assert set(project.ids("end").values()) == {1}
