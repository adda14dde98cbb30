"""The doctor names what keeps tasks from running, and the cure, on every broker."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dramatiq
import pytest
import redis
from django.core.management import CommandError, call_command
from django.db import connections
from django.db.models.functions import Now

from django_cfg.errors import BrokerUnreachable
from django_cfg.tasks import actions, checks, queries
from django_cfg.tasks.brokers import codec, make
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import DeadFilter, ResultEntry, SessionInfo
from django_cfg.tasks.brokers.endings import waiting
from django_cfg.tasks.brokers.process import identity
from django_cfg.tasks.doctor import Fact, examine_project, examine_task
from django_cfg.tasks.doctor import project as project_facts
from django_cfg.tasks.models import Attempt, EngineState, OutboxMessage, TaskRecord, Worker
from django_cfg.tasks.records.stats import DROPPED
from django_cfg.testing import drain
from django_cfg.testing.contracts import QUEUE, Client, dead, dead_process, declare, done, message, retry, unlogged
from tests.contract import work

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")
BROKERS = [
    "stub_broker",
    "sqlite_broker",
    pytest.param("postgres_broker", marks=pytest.mark.postgres),
    pytest.param("redis_broker", marks=pytest.mark.redis),
]


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest) -> Iterator[EngineBroker]:
    found: EngineBroker = request.getfixturevalue(request.param)
    declare(lambda: None, actor_name="work")
    yield found
    connections.close_all()


def serve(*queues: str, **more: Any) -> None:
    """A worker that lives."""
    me = identity()
    given = {
        "host_id": me.host_id, "host": "web-1", "pid": me.pid, "process_started": me.process_started,
        "supervisor_pid": 1, "version": project_facts.OUR_VERSION, "queues": queues or [QUEUE], "threads": 1,
        "started_at": Now(), "heartbeat_at": Now(),
    }  # fmt: skip
    Worker.objects.create(**{**given, **more})


def named(facts: list[Fact], name: str) -> list[tuple[str, str]]:
    return [(fact.finding.value, fact.text) for fact in facts if fact.name == name]


def run(*words: str) -> tuple[int, str]:
    out = io.StringIO()
    try:
        call_command("dramatiq_doctor", *words, stdout=out)
    except CommandError as error:
        return error.returncode, out.getvalue()
    return 0, out.getvalue()


# -- a project -----------------------------------------------------------------------------------------


def test_a_working_project_has_nothing_to_cure_but_its_warnings(broker: EngineBroker) -> None:
    serve()
    facts = examine_project()
    assert [fact for fact in facts if fact.finding == "fail"] == []
    assert {"versions", "enabled", "broker", "server", "workers", f"queue {QUEUE}", "leases"} <= {f.name for f in facts}


def test_every_fact_that_fails_names_a_cure(broker: EngineBroker) -> None:
    broker.enqueue(message())
    failing = [fact for fact in examine_project() if fact.finding == "fail"]
    assert {fact.name for fact in failing} == {"workers", f"queue {QUEUE}"}
    assert all("rundramatiq" in fact.cure for fact in failing)


def test_a_paused_queue_and_dead_letters_are_named(broker: EngineBroker) -> None:
    serve()
    broker.enqueue(message())
    client = Client(broker)
    client.exchange(*[dead(claim) for claim in client.claim()], count=0)
    broker.pause(QUEUE)
    texts = named(examine_project(), f"queue {QUEUE}")
    broker.resume(QUEUE)
    assert texts == [("warn", "is paused; 0 tasks wait"), ("warn", "1 dead letter")]


def test_tables_that_are_missing_fail(stub_broker: EngineBroker, monkeypatch: Any) -> None:
    monkeypatch.setattr(checks, "_pending", lambda alias: True)
    serve()
    assert run()[0] == 5
    [(finding, text)] = named(examine_project(), "django_cfg_tasks.W003")
    assert finding == "fail" and "are not applied to database 'default'" in text


def test_dropped_records_are_named(stub_broker: EngineBroker) -> None:
    EngineState.objects.create(name=DROPPED, value=7)
    [fact] = [fact for fact in examine_project() if fact.name == "records"]
    assert fact.finding == "warn" and fact.text.startswith("7 records") and "TaskConfig(records=" in fact.cure


def test_a_worker_of_another_release_is_named(stub_broker: EngineBroker) -> None:
    serve(version="0.0.9")
    ((finding, text),) = named(examine_project(), "releases")
    assert finding == "warn"
    assert "0.0.9" in text


def test_claims_of_a_process_that_is_gone_are_named(stub_broker: EngineBroker, monkeypatch: Any) -> None:
    serve()
    gone = SessionInfo(dead_process(), lease_left_s=20, held=3)
    monkeypatch.setattr(stub_broker, "sessions", lambda: [gone])
    ((finding, text),) = named(examine_project(), "leases")
    assert finding == "fail"
    assert text.endswith("which is gone, holds 3 tasks")


def test_a_clock_that_differs_is_named(stub_broker: EngineBroker, monkeypatch: Any) -> None:
    ahead = (datetime.now(UTC) + timedelta(seconds=90)).timestamp() * 1000
    monkeypatch.setattr(stub_broker, "clock_ms", lambda: ahead)
    ((finding, text),) = named(examine_project(), "clock")
    assert (finding, text) == ("warn", "this host's clock is 1 min 30 s behind the broker's")


def test_a_task_on_a_queue_that_nobody_serves_is_named_with_its_cure(stub_broker: EngineBroker, settings: Any) -> None:
    settings.DJANGO_CFG_TASKS = {"queues": [QUEUE]}
    declare(lambda: None, actor_name="lonely", queue_name="lost")
    facts = examine_project()
    (fact,) = [fact for fact in facts if fact.name == "django_cfg_tasks.E002"]
    assert fact.finding == "fail"
    assert "lonely" in fact.text
    assert "queues=" in fact.cure


def test_a_broker_that_does_not_answer_ends_the_look_with_3(broker: EngineBroker, monkeypatch: Any) -> None:
    def away() -> None:
        raise BrokerUnreachable("connection refused")

    monkeypatch.setattr(broker, "ping", away)
    code, text = run()
    assert code == 3
    assert "connection refused" in text
    assert run("some-id")[0] == 3


@pytest.mark.redis
def test_messages_in_another_database_of_the_server_are_named(redis_broker: EngineBroker) -> None:
    other = redis.Redis.from_url(redis_broker.settings.broker_url.removesuffix("/9") + "/8")
    key = f"{redis_broker.settings.redis_key_prefix}:messages"
    try:
        other.hset(key, "id", "x")
        ((finding, text),) = named(examine_project(), "address")
    finally:
        other.delete(key)
        other.close()
    assert finding == "warn"
    assert text.startswith("database 8 of the same server holds messages under the prefix")


@pytest.mark.redis
def test_what_a_restricted_user_may_not_ask_is_unknown_and_no_failure(redis_broker: EngineBroker) -> None:
    prefix, url = redis_broker.settings.redis_key_prefix, redis_broker.settings.broker_url
    admin = redis.Redis.from_url(url)
    rules = ["on", ">pw", f"~{prefix}*", "+@all", "-@dangerous", "-@admin"]
    admin.execute_command("ACL", "SETUSER", f"{prefix}-user", *rules)
    try:
        limited = replace(
            redis_broker.settings, broker_url=url.replace("redis://", f"redis://{prefix}-user:pw@"), broker_options={}
        )
        broker = make.make(limited)
        dramatiq.set_broker(broker)
        serve()
        facts = examine_project()
        broker.close()
    finally:
        dramatiq.set_broker(redis_broker)
        admin.execute_command("ACL", "DELUSER", f"{prefix}-user")
        admin.close()
    assert any(finding == "unknown" and "not permitted" in text for finding, text in named(facts, "server"))
    assert "pw@" not in str(facts)


def test_the_command_prints_one_line_a_fact_and_fails_with_5(stub_broker: EngineBroker) -> None:
    code, text = run()
    assert code == 5
    assert "FAIL workers: no worker lives: nothing runs -> python manage.py rundramatiq" in text.splitlines()
    assert len(text.splitlines()) == len(examine_project())


def test_json_has_stable_keys_and_the_same_exit_code(stub_broker: EngineBroker) -> None:
    code, text = run("--json")
    found = json.loads(text)
    assert (code, found["schema"]) == (5, 1)
    assert set(found["facts"][0]) == {"name", "finding", "text", "cure"}


def test_strict_lets_warnings_fail(stub_broker: EngineBroker) -> None:
    serve(version="0.0.9")
    assert run()[0] == 0
    assert run("--strict")[0] == 5


# -- one task ------------------------------------------------------------------------------------------


def test_a_task_that_no_worker_serves_says_so(broker: EngineBroker) -> None:
    sent = broker.enqueue(message())
    facts = examine_task(sent.message_id)
    assert named(facts, "state")[0][1].startswith(f"pending: work on queue {QUEUE}")
    assert named(facts, "workers") == [("fail", f"no living worker serves queue {QUEUE}")]
    assert run(sent.message_id)[0] == 5


def test_a_task_behind_busy_threads_says_how_many_wait(stub_broker: EngineBroker) -> None:
    declare(lambda: None, actor_name="work")
    serve(running=[{"thread": 1, "task": "t", "message_id": "m", "for_s": 3}])
    sent = stub_broker.enqueue_many([message(), message()])
    ((finding, text),) = named(examine_task(sent[1].message_id), "workers")
    assert (finding, text) == ("warn", "1 of 1 threads that serve the queue are busy; 2 tasks wait in it")


def test_a_task_on_a_paused_queue_says_so(broker: EngineBroker) -> None:
    serve()
    sent = broker.enqueue(message())
    broker.pause(QUEUE)
    facts = examine_task(sent.message_id)
    broker.resume(QUEUE)
    assert named(facts, "queue") == [("fail", f"queue {QUEUE} is paused")]


def test_a_delayed_and_a_retrying_task_say_when_they_are_due(broker: EngineBroker) -> None:
    serve()
    delayed, failed = broker.enqueue(message(), delay=90_000), broker.enqueue(message())
    client = Client(broker)
    (claim,) = client.claim()
    client.exchange(retry(claim, 90_000), count=0)
    for sent, word in ((delayed, "scheduled"), (failed, "retrying")):
        ((finding, text),) = named(examine_task(sent.message_id), "state")
        assert finding == "ok"
        assert text.startswith(f"{word}: work")
        assert "due in 1 min" in text


def test_a_task_of_another_release_is_unknown_to_this_code(broker: EngineBroker) -> None:
    serve()
    sent = broker.enqueue(message("of_the_next_release"))
    ((finding, text),) = named(examine_task(sent.message_id), "task")
    assert (finding, text) == ("fail", "no task is named 'of_the_next_release' in this code")


def test_a_running_task_names_its_worker_and_thread(broker: EngineBroker) -> None:
    sent = broker.enqueue(message())
    Client(broker).claim()
    serve(running=[{"thread": 1, "task": "work", "message_id": sent.message_id, "for_s": 3}])
    facts = examine_task(sent.message_id)
    assert named(facts, "state")[0][1].startswith("running: work")
    assert named(facts, "lease")[0][1].startswith(f"{identity().host}:{identity().pid} holds it")
    assert named(facts, "thread")[0][1].startswith("thread 1 runs it for 3.")


def test_a_dead_letter_says_why_and_how_to_retry_it(broker: EngineBroker) -> None:
    sent = broker.enqueue(message())
    client = Client(broker)
    client.exchange(*[dead(claim) for claim in client.claim()], count=0)
    (fact,) = examine_task(sent.message_id)
    assert (fact.name, fact.finding) == ("state", "fail")
    assert "failed: ValueError: bad" in fact.text
    assert fact.cure == f"python manage.py dramatiq_retry_failed --id {sent.message_id}"


def test_a_finished_task_is_found_by_its_record(stub_broker: EngineBroker) -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    TaskRecord.objects.create(
        message_id="m", task="work", queue=QUEUE, state="completed", enqueued_at=at, finished_at=at, updated_at=at,
        worker="web-1:7",
    )  # fmt: skip
    Attempt.objects.create(
        message_id="m", generation=1, fence=1, ended_as="retry", error_type="KeyError", error="'x'", ended_at=at,
        worker="web-1:6",
    )  # fmt: skip
    facts = examine_task("m")
    assert named(facts, "state") == [("ok", f"completed: work on queue {QUEUE}, at 2026-01-02 00:00:00, by web-1:7")]
    assert named(facts, "latest failure")[0][1].startswith("KeyError: 'x' (by web-1:6")
    assert run("m")[0] == 0


def test_a_task_that_left_only_its_result_is_completed(broker: EngineBroker) -> None:
    sent = broker.enqueue(message())
    client = Client(broker)
    (claim,) = client.claim()
    client.exchange(done(claim, result=ResultEntry({"result": 1}, 60_000)), count=0)
    assert named(examine_task(sent.message_id), "state")[0][1].startswith("completed")


def test_what_is_left_of_a_task_says_how_it_ended(broker: EngineBroker) -> None:
    taken, bad, good = work.add.enqueue(), work.fail.enqueue(), work.add.enqueue()
    actions.cancel(taken.id)
    with unlogged():
        drain()
    actions.clear_failed(DeadFilter(message_ids=(bad.id,)))
    broker.store_result("waits", waiting(message()))
    ids = (taken.id, bad.id, good.id, "waits")
    said = [named(examine_task(one), "state")[0][1].partition(":")[0] for one in ids]
    assert said == ["cancelled", "failed", "completed", "waits or runs"]


def test_the_outbox_is_looked_into_and_its_messages_are_found(stub_broker: EngineBroker) -> None:
    sent = message()
    row = OutboxMessage.objects.create(message_id=sent.message_id, body=codec.encode(sent), sent_at=Now())
    assert named(examine_project(), "outbox")[0][1].startswith("1 message waits in database 'default', the oldest for ")
    assert "on its way to the broker" in named(examine_task(sent.message_id), "state")[0][1]
    row.error = "too large"
    row.save()
    assert named(examine_project(), "outbox") == [("fail", "1 message in database 'default' cannot be published")]
    assert named(examine_task(sent.message_id), "state")[0][1].endswith("cannot be published: too large")


@pytest.mark.rabbitmq
def test_a_broker_that_finds_no_message_does_not_say_that_there_is_none(rabbitmq_broker: EngineBroker) -> None:
    code, text = run(rabbitmq_broker.enqueue(message()).message_id)
    assert code == 4
    assert "unknown: no dead letter, record or result has this id; whether a message has it" in text
    assert "it waits or runs" in text


def test_an_id_that_nobody_knows_exits_with_4_and_says_what_may_be(broker: EngineBroker) -> None:
    code, text = run("no-such-id")
    assert code == 4
    assert "rolled back with its transaction" in text
    assert queries.broker() is broker
