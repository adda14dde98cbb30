"""However many schedulers run, each due time becomes one message, or stands visibly among the ticks that did not."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from django_cfg.errors import BrokerUnreachable
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.cron import settle as settling
from django_cfg.tasks.cron import store
from django_cfg.tasks.cron.history import EVERY_S, forget
from django_cfg.tasks.models import Schedule, Tick
from django_cfg.testing.contracts.tools import Client
from tests.unit.tasks.conftest import POSTGRES, serving
from tests.unit.tasks.cron.clock import Clock, at, entries, moment, scheduler, ticks

MARIADB = pytest.param("database://mysql", marks=pytest.mark.mariadb)
pytestmark = pytest.mark.django_db(databases="__all__")


@pytest.fixture(params=["database://default", POSTGRES, MARIADB])
def broker(request: pytest.FixtureRequest, db: None) -> Iterator[EngineBroker]:
    yield from serving(request.param)


@pytest.fixture
def alias(broker: EngineBroker) -> str:
    return store.alias_of(broker)


def enqueued(broker: EngineBroker) -> list[str]:
    """Nominal times of the messages that wait, in order."""
    return sorted(moment(m.options["nominal_at"]) for m in broker.peek("default", 10_000))


def test_a_tick_is_enqueued_at_its_time_and_carries_it(broker: EngineBroker, alias: str) -> None:
    clock = Clock("2026-06-01T01:59:30Z")
    code = entries({"cron": "0 2 * * *", "args": [1], "kwargs": {"a": "b"}, "name": "nightly"})
    one = scheduler(broker, clock, code)
    assert enqueued(broker) == []
    assert 0 < one.turn() <= 1

    clock.set("2026-06-01T02:00:00.010Z")
    one.turn()

    [message] = broker.peek("default")
    assert (message.actor_name, message.args, message.kwargs) == ("job", (1,), {"a": "b"})
    assert message.options == {"schedule": "nightly", "nominal_at": at("2026-06-01T02:00:00Z")}
    assert ticks(alias) == [("due", "enqueued", 1, "06-01 02:00")]


@pytest.mark.parametrize(
    ("zone", "expression", "night", "expected"),
    [
        ("Europe/Berlin", "30 2 * * *", "2026-03-29", ["03-29 01:00"]),
        ("Europe/Berlin", "30 2 * * *", "2026-10-25", ["10-25 00:30"]),
        ("America/New_York", "30 2 * * *", "2026-03-08", ["03-08 07:00"]),
        ("America/New_York", "30 1 * * *", "2026-11-01", ["11-01 05:30"]),
        (
            "America/New_York",
            "*/30 1 * * *",
            "2026-11-01",
            ["11-01 05:00", "11-01 05:30", "11-01 06:00", "11-01 06:30"],
        ),
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03", ["10-03 15:30"]),
        ("Australia/Lord_Howe", "45 1 * * *", "2026-04-04", ["04-04 14:45"]),
        ("Pacific/Chatham", "0 3 * * *", "2026-09-26", ["09-26 14:00"]),
        ("Pacific/Chatham", "0 3 * * *", "2026-04-04", ["04-04 13:15"]),
        ("Antarctica/Troll", "30 1 * * *", "2026-03-29", ["03-29 01:00"]),
        ("Antarctica/Troll", "30 1 * * *", "2026-10-25", ["10-24 23:30"]),
    ],
)
def test_three_schedulers_enqueue_each_tick_once_through_a_change_of_clocks(
    broker: EngineBroker, alias: str, zone: str, expression: str, night: str, expected: list[str]
) -> None:
    """A day in steps of 5 to 50 seconds, in no order, with schedulers that start anew in between."""
    chance = random.Random(night + zone)
    start = at(night + "T00:00Z") - 2 * 3_600_000
    clock = Clock(night + "T00:00Z")
    clock.now_ms = start
    code = entries({"cron": expression, "timezone": zone})
    three = [scheduler(broker, clock, code) for _ in range(3)]
    times = sorted(
        {start} | {at("2026-" + text.replace(" ", "T") + "Z") + d for text in expected for d in (-7_000, 300)}
    )
    while clock.now_ms < start + 24 * 3_600_000:
        step = chance.randrange(600_000, 1_800_000)
        ahead = [t for t in times if t > clock.now_ms]
        clock.now_ms = min(clock.now_ms + step, *ahead) if ahead else clock.now_ms + step
        for one in chance.sample(three, 3):
            one.turn()
        if chance.random() < 0.05:
            three[chance.randrange(3)] = scheduler(broker, clock, code)
    assert enqueued(broker) == expected
    assert {state for _, state, _, _ in ticks(alias)} == {"enqueued"}


def test_a_clock_that_steps_back_enqueues_nothing_twice(broker: EngineBroker, alias: str) -> None:
    clock = Clock("2026-06-01T00:00:00Z")
    two = [scheduler(broker, clock, entries({"cron": "* * * * *"})) for _ in range(2)]
    for now in ("00:01:00", "00:02:00", "00:00:30", "00:01:00", "00:02:00", "00:02:30", "00:03:00"):
        clock.set(f"2026-06-01T{now}Z")
        for one in two:
            one.turn()
    assert enqueued(broker) == ["06-01 00:01", "06-01 00:02", "06-01 00:03"]


@pytest.mark.parametrize(
    ("policy", "expected", "missed"),
    [
        ({"missed": "skip"}, [], ("gap", "missed", 5, "06-01 05:00")),
        ({"missed": "latest"}, ["06-01 05:00"], ("gap", "missed", 4, "06-01 04:00")),
        ({"missed": "all"}, [f"06-01 0{h}:00" for h in range(1, 6)], None),
        ({"missed": "all", "missed_limit": 2}, ["06-01 04:00", "06-01 05:00"], ("gap", "missed", 3, "06-01 03:00")),
        (
            {"missed": "all", "missed_window_s": 7_200},
            ["06-01 04:00", "06-01 05:00"],
            ("gap", "missed", 3, "06-01 03:00"),
        ),
        ({"missed": "latest", "missed_window_s": 60}, [], ("gap", "missed", 5, "06-01 05:00")),
    ],
)
def test_missed_ticks_follow_the_policy_and_are_listed(
    broker: EngineBroker, alias: str, policy: dict[str, object], expected: list[str], missed: tuple[str, ...] | None
) -> None:
    clock, code = Clock("2026-06-01T00:30:00Z"), entries({"cron": "0 * * * *", **policy})
    scheduler(broker, clock, code)
    clock.set("2026-06-01T05:30:00Z")
    two = [scheduler(broker, clock, code) for _ in range(2)]
    for one in two:
        one.turn()
    assert enqueued(broker) == expected
    assert [tick for tick in ticks(alias) if tick[0] == "gap"] == ([missed] if missed else [])


def test_after_a_minute_or_less_the_newest_tick_is_on_time_under_every_policy(broker: EngineBroker) -> None:
    clock, code = Clock("2026-06-01T00:30:00Z"), entries({"cron": "0 * * * *", "missed": "skip"})
    one = scheduler(broker, clock, code)
    clock.set("2026-06-01T01:00:59Z")
    one.turn()
    assert enqueued(broker) == ["06-01 01:00"]


def test_a_new_schedule_begins_now_and_a_changed_one_begins_anew(broker: EngineBroker, alias: str) -> None:
    clock = Clock("2026-06-01T12:00:00Z")
    scheduler(broker, clock, entries({"cron": "0 3 * * *"}))
    clock.set("2026-06-02T01:00:00Z")
    scheduler(broker, clock, entries({"cron": "0 0 * * *"}))
    assert enqueued(broker) == [] and ticks(alias) == []
    clock.set("2026-06-03T00:00:01Z")
    scheduler(broker, clock, entries({"cron": "0 0 * * *"}))
    assert enqueued(broker) == ["06-03 00:00"]


def test_a_schedule_that_the_code_has_no_more_does_not_tick(broker: EngineBroker, alias: str) -> None:
    clock = Clock("2026-06-01T12:00:00Z")
    scheduler(broker, clock, entries({"cron": "* * * * *"}))
    clock.set("2026-06-01T12:05:00Z")
    scheduler(broker, clock, {})
    assert enqueued(broker) == [] and Schedule.objects.using(alias).count() == 1


def test_jitter_is_the_same_delay_in_every_process_and_no_part_of_the_nominal_time(broker: EngineBroker) -> None:
    clock = Clock("2026-06-01T00:00:30Z")
    code = entries({"cron": "* * * * *", "jitter_s": 30, "name": "spread"})
    delay_ms = code["spread"].delay_ms
    assert 0 < delay_ms <= 30_000
    one = scheduler(broker, clock, code)
    clock.now_ms = at("2026-06-01T00:01:00Z") + delay_ms - 1
    one.turn()
    assert enqueued(broker) == []
    clock.now_ms += 1
    one.turn()
    assert enqueued(broker) == ["06-01 00:01"]


def test_outside_of_start_and_end_there_are_no_ticks(broker: EngineBroker) -> None:
    clock = Clock("2026-06-01T00:00:00Z")
    bounds = {"start": "2026-06-01T02:00:00Z", "end": "2026-06-01T03:00:00+00:00"}
    one = scheduler(broker, clock, entries({"cron": "0 * * * *", **bounds}))
    for hour in range(6):
        clock.set(f"2026-06-01T0{hour}:00:01Z")
        one.turn()
    assert enqueued(broker) == ["06-01 02:00", "06-01 03:00"]


# -- overlap --------------------------------------------------------------------------------------------------


def after_three_ticks(broker: EngineBroker, overlap: str) -> tuple[Clock, list[object]]:
    """Three due times, no run of which ends."""
    clock = Clock("2026-06-01T00:00:30Z")
    two = [scheduler(broker, clock, entries({"cron": "* * * * *", "overlap": overlap})) for _ in range(2)]
    for minute in (1, 2, 3):
        clock.set(f"2026-06-01T00:0{minute}:00Z")
        for one in two:
            one.turn()
    return clock, list(two)


@pytest.mark.parametrize(
    ("overlap", "waiting", "states"),
    [
        ("allow", ["06-01 00:01", "06-01 00:02", "06-01 00:03"], ["enqueued", "enqueued", "enqueued"]),
        ("skip", ["06-01 00:01"], ["enqueued", "skipped", "skipped"]),
        ("buffer_one", ["06-01 00:01"], ["enqueued", "buffered", "skipped"]),
        ("cancel_other", ["06-01 00:03"], ["enqueued", "enqueued", "enqueued"]),
    ],
)
def test_a_run_that_has_not_ended_meets_the_overlap_policy(
    broker: EngineBroker, alias: str, overlap: str, waiting: list[str], states: list[str]
) -> None:
    after_three_ticks(broker, overlap)
    assert enqueued(broker) == waiting
    assert [state for _, state, _, _ in ticks(alias)] == states


def test_a_buffered_tick_runs_once_when_the_run_before_has_ended(broker: EngineBroker, alias: str) -> None:
    clock, two = after_three_ticks(broker, "buffer_one")
    [first] = broker.peek("default")
    broker.cancel(first.message_id)
    clock.set("2026-06-01T00:03:10Z")
    for one in two:
        one.turn()  # type: ignore[attr-defined]
    assert enqueued(broker) == ["06-01 00:02"]
    assert [state for _, state, _, _ in ticks(alias)] == ["enqueued", "enqueued", "skipped"]
    [message] = broker.peek("default")
    assert Tick.objects.using(alias).get(message_id=message.message_id).nominal_at == at("2026-06-01T00:02:00Z")


def test_a_run_that_has_started_is_asked_to_stop_and_its_successor_enqueued(broker: EngineBroker) -> None:
    clock = Clock("2026-06-01T00:00:30Z")
    one = scheduler(broker, clock, entries({"cron": "* * * * *", "overlap": "cancel_other"}))
    clock.set("2026-06-01T00:01:00Z")
    one.turn()
    worker = Client(broker)
    [running] = worker.claim()
    clock.set("2026-06-01T00:02:00Z")
    one.turn()
    assert worker.exchange(count=0).revoked == {running.message.message_id}
    assert enqueued(broker) == ["06-01 00:02"]


# -- errors ---------------------------------------------------------------------------------------------------


def test_without_its_message_there_is_no_row_and_the_tick_stays_due(
    broker: EngineBroker, alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, code = Clock("2026-06-01T00:00:30Z"), entries({"cron": "* * * * *"})
    one = scheduler(broker, clock, code)
    clock.set("2026-06-01T00:01:00Z")
    with monkeypatch.context() as patch:
        patch.setattr(broker, "store", lambda batch: (_ for _ in ()).throw(BrokerUnreachable("away")))
        with pytest.raises(BrokerUnreachable):
            one.turn()
        assert ticks(alias) == []
    one.turn()
    assert enqueued(broker) == ["06-01 00:01"]


def test_a_message_that_cannot_be_stored_stands_among_the_ticks_and_holds_up_no_other_schedule(
    broker: EngineBroker, alias: str
) -> None:
    clock = Clock("2026-06-01T00:00:30Z")
    code = entries({"cron": "* * * * *", "name": "big", "args": ["x" * 200_000]}, {"cron": "* * * * *", "name": "ok"})
    one = scheduler(broker, clock, code)
    clock.set("2026-06-01T00:01:00Z")
    one.turn()
    assert [m.options["schedule"] for m in broker.peek("default")] == ["ok"]
    [refused] = Tick.objects.using(alias).filter(state="refused")
    assert refused.schedule.name == "big" and "max_payload_bytes" in refused.reason


def test_a_tick_that_is_decided_already_is_never_enqueued_again(broker: EngineBroker, alias: str) -> None:
    """Even if a row claims that it was not: the unique row decides."""
    clock, code = Clock("2026-06-01T00:00:30Z"), entries({"cron": "* * * * *"})
    one = scheduler(broker, clock, code)
    clock.set("2026-06-01T00:01:00Z")
    one.turn()
    Schedule.objects.using(alias).update(settled_at=at("2026-06-01T00:00:00Z"))
    settling.settle(broker, alias, code, ["job"], clock.now_ms)
    assert enqueued(broker) == ["06-01 00:01"]


def test_hundreds_of_schedules_at_one_time_are_enqueued_in_one_turn(broker: EngineBroker) -> None:
    clock = Clock("2026-06-01T00:00:30Z")
    code = entries(*[{"cron": "0 * * * *", "name": f"s{n}"} for n in range(300)])
    one = scheduler(broker, clock, code)
    clock.set("2026-06-01T01:00:00Z")
    one.turn()
    found = Counter(m.options["schedule"] for m in broker.peek("default", 400))
    assert len(found) == 300 and set(found.values()) == {1}


def test_an_idle_ticker_asks_one_question_whatever_the_number_of_schedules(broker: EngineBroker, alias: str) -> None:
    clock = Clock("2026-06-01T00:00:30Z")
    one = scheduler(broker, clock, entries(*[{"cron": "0 3 * * *", "name": f"s{n}"} for n in range(300)]))
    one.turn()
    with CaptureQueriesContext(connections[alias]) as asked:
        one.turn()
    assert len(asked) == 1


def test_old_ticks_are_forgotten_and_the_last_run_is_not(broker: EngineBroker, alias: str) -> None:
    clock = Clock("2026-06-01T00:00:30Z")
    one = scheduler(broker, clock, entries({"cron": "* * * * *"}))
    for minute in (1, 2):
        clock.set(f"2026-06-01T00:0{minute}:00Z")
        one.turn()
    _, now_ms = store.glance(alias)
    Tick.objects.using(alias).update(decided_at=now_ms)
    Tick.objects.using(alias).filter(nominal_at=at("2026-06-01T00:01Z")).update(decided_at=now_ms - 31 * 86_400_000)
    assert forget(broker) == EVERY_S
    assert ticks(alias) == [("due", "enqueued", 1, "06-01 00:02")]
    assert Schedule.objects.using(alias).get().last_nominal_at == at("2026-06-01T00:02Z")


def test_a_broker_that_is_away_holds_up_only_schedules_that_have_to_ask_it(
    stub: EngineBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The messages of the others wait in the outbox."""

    def away(*_: object) -> bool:
        raise BrokerUnreachable("gone")

    clock = Clock("2026-01-01T00:00:30Z")
    always, careful = {"cron": "* * * * *", "name": "always"}, {"cron": "* * * * *", "name": "careful"}
    one = scheduler(stub, clock, entries(always, {**careful, "overlap": "skip"}))
    clock.set("2026-01-01T00:01:00Z")
    one.turn()
    with monkeypatch.context() as patched:
        patched.setattr(stub, "holds", away)
        patched.setattr(stub, "store", away)
        for minute in (2, 3):
            clock.set(f"2026-01-01T00:0{minute}:00Z")
            with pytest.raises(BrokerUnreachable):
                one.turn()
    clock.set("2026-01-01T00:03:10Z")
    one.turn()
    rows = Tick.objects.order_by("nominal_at").values_list("schedule__name", "state")
    states = {name: [state for who, state in rows if who == name] for name in ("always", "careful")}
    assert states == {"always": ["enqueued"] * 3, "careful": ["enqueued", "missed", "skipped"]}
