"""`dramatiq_cron` tells what is scheduled and changes it; every change is one transaction and is known everywhere."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import dramatiq
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import override_settings

from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.cron import store
from django_cfg.tasks.cron.declared import declared
from django_cfg.tasks.cron.operate import Operator
from django_cfg.tasks.cron.ticker import Ticker
from django_cfg.tasks.models import OperatorAction, Schedule, Tick
from tests.unit.tasks.conftest import POSTGRES, serving
from tests.unit.tasks.cron.clock import Clock, at, entries, moment, scheduler, ticks

pytestmark = pytest.mark.django_db(databases="__all__")
JOBS = [
    {"actor_name": "nightly", "cron": "0 2 * * *", "timezone": "Europe/Paris"},
    {"actor_name": "often", "every_s": 60},
]


@pytest.fixture(params=["database://default", POSTGRES])
def broker(request: pytest.FixtureRequest, db: None) -> Iterator[EngineBroker]:
    for broker in serving(request.param):
        dramatiq.actor(lambda: None, actor_name="nightly")
        dramatiq.actor(lambda: None, actor_name="often", queue_name="polls")
        with override_settings(DRAMATIQ_CRON_JOBS=JOBS, TIME_ZONE="Europe/Paris"):
            yield broker


def run(*words: str) -> str:
    out = io.StringIO()
    call_command("dramatiq_cron", *words, stdout=out)
    return out.getvalue().strip()


def refusal(*words: str) -> CommandError:
    with pytest.raises(CommandError) as caught:
        run(*words)
    return caught.value


def row(broker: EngineBroker, name: str) -> Schedule:
    return Schedule.objects.using(store.alias_of(broker)).get(name=name)


def test_the_list_tells_times_in_words_and_the_next_run(broker: EngineBroker) -> None:
    nightly, often = run("--list").splitlines()
    assert nightly.startswith("nightly [on] nightly: At 02:00 every day, Europe/Paris · last - · next 20")
    assert often.startswith("often [on] often: Every 1 min 0 s · last - · next 20")


def test_the_list_as_json_has_stable_keys(broker: EngineBroker) -> None:
    found = json.loads(run("--list", "--json"))
    assert found["schema"] == 1 and [one["name"] for one in found["schedules"]] == ["nightly", "often"]
    assert {"name", "task", "words", "source", "state", "overridden", "next", "last"} <= set(found["schedules"][0])


def test_the_next_runs_of_all_schedules_stand_in_order(broker: EngineBroker) -> None:
    lines = run("--next", "5").splitlines()
    assert len(lines) == 5 and lines == sorted(lines) and all(line.endswith("often") for line in lines)
    assert "--next must be between 1 and 1000, got 0" in str(refusal("--next", "0"))


def test_run_enqueues_at_once_on_the_queue_of_the_task(broker: EngineBroker) -> None:
    text = run("--run", "often")
    [message] = broker.peek("polls")
    assert text == f"Enqueued often as message {message.message_id}."
    assert ticks(store.alias_of(broker))[0][:2] == ("manual", "enqueued")
    assert row(broker, "often").last_message_id == message.message_id


def test_an_unknown_schedule_is_a_usage_error_that_names_the_known_ones(broker: EngineBroker) -> None:
    error = refusal("--run", "oftn")
    assert (error.returncode, str(error)) == (2, "no schedule is named 'oftn'; known: nightly, often")


def test_each_act_leaves_one_row_in_the_audit_also_when_it_fails(broker: EngineBroker) -> None:
    for words in (("--run", "often"), ("--pause", "often", "--note", "moving"), ("--resume", "often")):
        run(*words)
    refusal("--pause", "oftn")
    run("--backfill", "often", "--from", "2026-06-01T00:00", "--to", "2026-06-01T00:02", "--dry-run")
    run("--backfill", "often", "--from", "2026-06-01T00:00", "--to", "2026-06-01T00:02")
    acts = OperatorAction.objects.order_by("id")
    assert [(act.action, act.source, act.outcome, act.affected) for act in acts] == [
        ("run", "command", "done", 1), ("pause", "command", "done", 1), ("resume", "command", "done", 1),
        ("pause", "command", "failed", 0), ("backfill", "command", "done", 3),
    ]  # fmt: skip
    assert [act.target for act in acts][3:] == ["schedule oftn", "schedule often"] and acts[1].detail == "moving"


def test_a_pause_with_its_note_holds_every_scheduler_until_it_is_resumed(broker: EngineBroker) -> None:
    alias = store.alias_of(broker)
    code = entries({"cron": "* * * * *", "name": "often"})
    clock = Clock("2026-06-01T00:00:30Z")
    one = scheduler(broker, clock, code)
    operator = Operator(broker, code, by="ann")
    operator._now_ms = lambda: clock.now_ms  # type: ignore[method-assign]
    operator.pause("often", "the mail server moves")
    for minute in (1, 2, 3):
        clock.set(f"2026-06-01T00:0{minute}:00Z")
        one.turn()
    assert ticks(alias) == [] and row(broker, "often").changed_by == "ann"
    operator.resume("often")
    one.turn()
    assert ticks(alias) == [("gap", "skipped", 3, "06-01 00:03")]
    assert Tick.objects.using(alias).get().reason == "paused: the mail server moves"
    clock.set("2026-06-01T00:04:00Z")
    one.turn()
    assert ticks(alias)[-1] == ("due", "enqueued", 1, "06-01 00:04")


def test_pause_and_resume_on_the_command_line(broker: EngineBroker) -> None:
    assert run("--pause", "nightly", "--note", "month end") == "nightly is paused."
    assert "nightly [paused] nightly: At 02:00 every day, Europe/Paris; month end" in run("--list")
    assert json.loads(run("--resume", "nightly", "--json")) == {"schema": 1, "schedule": "nightly", "paused": False}
    assert "nightly [on]" in run("--list")


def test_a_pause_before_the_first_scheduler_ran_counts_too(broker: EngineBroker) -> None:
    run("--pause", "often")
    with override_settings(DRAMATIQ_CRON_JOBS=JOBS):
        from django_cfg.tasks import conf

        ticker = Ticker(broker, declared(conf.read()))
    assert 0 < ticker.turn() <= 1
    assert row(broker, "often").paused_at is not None


def history(broker: EngineBroker) -> tuple[Clock, Operator]:
    """Ticks at 1:00 (skipped as missed: 1:00-3:00) and 4:00 (enqueued); it is 4:30."""
    code = entries({"cron": "0 * * * *", "name": "hourly", "missed": "latest"})
    clock = Clock("2026-06-01T00:30:00Z")
    scheduler(broker, clock, code)
    clock.set("2026-06-01T04:30:00Z")
    scheduler(broker, clock, code).turn()
    operator = Operator(broker, code)
    operator._now_ms = lambda: clock.now_ms  # type: ignore[method-assign]
    return clock, operator


def waiting(broker: EngineBroker) -> list[str]:
    return sorted(moment(m.options["nominal_at"]) for m in broker.peek("default", 1000))


def test_a_backfill_enqueues_what_was_missed_and_nothing_twice(broker: EngineBroker) -> None:
    _, operator = history(broker)
    begin, until = at("2026-06-01T00:00Z"), at("2026-06-01T23:00Z")
    assert waiting(broker) == ["06-01 04:00"]
    tried = operator.backfill("hourly", begin, until, dry_run=True)
    done = operator.backfill("hourly", begin, until)
    again = operator.backfill("hourly", begin, until)
    assert (tried.enqueued, tried.already) == (done.enqueued, done.already) == (4, 1)
    assert (again.enqueued, again.already) == (0, 5)
    assert waiting(broker) == [f"06-01 0{hour}:00" for hour in range(5)]
    assert row(broker, "hourly").last_nominal_at == at("2026-06-01T04:00Z")


def test_a_backfill_until_now_needs_no_zone_in_the_settings(broker: EngineBroker) -> None:
    with override_settings(USE_TZ=False):
        assert "would be enqueued" in run("--backfill", "nightly", "--from", "2026-06-01", "--dry-run")


def test_a_backfill_of_a_skipped_tick_enqueues_it(broker: EngineBroker) -> None:
    _, operator = history(broker)
    Tick.objects.using(store.alias_of(broker)).filter(kind="due").update(state="skipped")
    assert operator.backfill("hourly", at("2026-06-01T04:00Z"), at("2026-06-01T04:00Z")).enqueued == 1


def test_a_backfill_is_bounded_and_says_what_it_needs(broker: EngineBroker) -> None:
    assert "--backfill needs --from" in str(refusal("--backfill", "often"))
    assert "is before --from" in str(refusal("--backfill", "often", "--from", "2026-06-02", "--to", "2026-06-01"))
    run("--pause", "often")
    assert "more than 1,000 ticks of 'often' fall into that time" in str(
        refusal("--backfill", "often", "--from", "2020-01-01")
    )


def test_an_override_is_visible_counts_everywhere_and_can_be_reset(broker: EngineBroker) -> None:
    code = entries({"cron": "0 * * * *", "name": "hourly"})
    clock = Clock("2026-06-01T00:30:00Z")
    one = scheduler(broker, clock, code)
    operator = Operator(broker, code, by="ann")
    operator._now_ms = lambda: clock.now_ms  # type: ignore[method-assign]
    operator.override("hourly", {"cron": "*/10 * * * *", "args": [7]})
    one.turn()
    clock.set("2026-06-01T00:40:00Z")
    one.turn()
    assert [m.args for m in broker.peek("default")] == [(7,)]
    operator.reset("hourly")
    one.turn()
    clock.set("2026-06-01T00:50:00Z")
    one.turn()
    assert waiting(broker) == ["06-01 00:40"]
    clock.set("2026-06-01T01:00:00Z")
    one.turn()
    assert waiting(broker) == ["06-01 00:40", "06-01 01:00"]


def test_a_schedule_of_an_operator_ticks_like_one_of_the_code_and_can_be_deleted(broker: EngineBroker) -> None:
    clock = Clock("2026-06-01T00:00:30Z")
    one = scheduler(broker, clock, {})
    operator = Operator(broker, {})
    operator._now_ms = lambda: clock.now_ms  # type: ignore[method-assign]
    operator.define({"actor_name": "nightly", "cron": "* * * * *", "name": "mine"})
    one.turn()
    clock.set("2026-06-01T00:01:00Z")
    one.turn()
    assert waiting(broker) == ["06-01 00:01"]
    operator.delete("mine")
    one.turn()
    clock.set("2026-06-01T00:02:00Z")
    one.turn()
    assert waiting(broker) == ["06-01 00:01"]


def test_database_without_tables_is_a_usage_error_with_the_cure(broker: EngineBroker, monkeypatch: Any) -> None:
    monkeypatch.setattr("django_cfg.tasks.management.commands.dramatiq_cron.has_tables", lambda alias: False)
    error = refusal("--list")
    assert error.returncode == 2 and "python manage.py migrate" in str(error)
