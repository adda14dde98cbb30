"""The operator's commands on every broker: they parse, call and print."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import dramatiq
import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.utils import timezone

from django_cfg.errors import BrokerError, BrokerUnreachable
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import DeadFilter
from django_cfg.tasks.models import EngineState, OutboxMessage, TaskRecord
from django_cfg.tasks.records.stats import DROPPED
from django_cfg.testing.contracts import Client, dead, message

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


@pytest.fixture(params=["stub_broker", "sqlite_broker"])
def broker(request: pytest.FixtureRequest) -> EngineBroker:
    found: EngineBroker = request.getfixturevalue(request.param)
    found.declare_queue("critical")
    return found


def run(name: str, *words: str) -> str:
    out = io.StringIO()
    call_command(name, *words, stdout=out)
    return out.getvalue().strip()


def refusal(name: str, *words: str) -> CommandError:
    with pytest.raises(CommandError) as caught:
        run(name, *words)
    return caught.value


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def bury(broker: EngineBroker, *tasks: str) -> None:
    for task in tasks:
        broker.enqueue(message(task))
    client = Client(broker)
    client.exchange(*[dead(claim) for claim in client.claim(count=100)], count=0)


def test_status_says_what_waits_and_runs_in_each_queue(broker: EngineBroker) -> None:
    broker.enqueue_many([message("work", queue="critical") for _ in range(5)])
    Client(broker).claim(count=2, queues=("critical",))
    assert run("dramatiq_status", "--queue", "critical") == "Queue: critical (3 pending, 2 processing)"


def test_status_says_what_is_on_its_way_to_the_broker(broker: EngineBroker) -> None:
    now = timezone.now()
    OutboxMessage.objects.create(message_id="1", body="{}", sent_at=now - timedelta(minutes=3))
    OutboxMessage.objects.create(message_id="2", body="{}", sent_at=now, error="unreadable")
    last = run("dramatiq_status").splitlines()[-1]
    assert last.startswith("Outbox: default (1 on their way to the broker, 1 refused, oldest 3 min ")
    (outbox,) = json.loads(run("dramatiq_status", "--json"))["outbox"]
    assert (outbox["alias"], outbox["waiting"], outbox["refused"]) == ("default", 1, 1)
    assert outbox["oldest_age_s"] >= 180


def test_status_tells_more_when_asked(broker: EngineBroker) -> None:
    broker.enqueue(message("work", queue="critical"), delay=60_000)
    first, last = run("dramatiq_status", "--queue", "critical", "--verbose").splitlines()
    assert first.endswith("1 scheduled, 0 retrying, 0 dead, oldest waiting -")
    assert last == "Records: 0 dropped"


def test_status_tells_of_a_pause_and_of_dropped_records(broker: EngineBroker) -> None:
    broker.pause("critical")
    EngineState.objects.create(name=DROPPED, value=7)
    line, last = run("dramatiq_status", "--queue", "critical", "--verbose").splitlines()
    assert line.endswith(", paused") and last == "Records: 7 dropped"
    assert run("dramatiq_status", "--queue", "critical") == "Queue: critical (0 pending, 0 processing), paused"
    document = json.loads(run("dramatiq_status", "--queue", "critical", "--json"))
    assert (document["queues"][0]["paused"], document["records_dropped"]) == (True, 7)
    broker.resume("critical")
    assert "paused" not in run("dramatiq_status", "--queue", "critical", "--verbose")


def test_status_as_json_has_stable_keys(broker: EngineBroker) -> None:
    (queue,) = json.loads(run("dramatiq_status", "--queue", "critical", "--json"))["queues"]
    keys = {"queue", "pending", "scheduled", "running", "retrying", "dead", "oldest_pending_age_s", "paused"}
    assert set(queue) == keys


def test_status_of_an_unknown_queue_is_a_usage_error_that_names_the_known_ones(broker: EngineBroker) -> None:
    error = refusal("dramatiq_status", "--queue", "critcal")
    assert error.returncode == 2
    assert "no queue is named 'critcal'; known: " in str(error)
    assert "critical" in str(error)


def test_clearing_without_a_terminal_counts_and_refuses(broker: EngineBroker, monkeypatch: Any) -> None:
    bury(broker, "one", "two")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    error = refusal("dramatiq_clear_failed")
    assert (error.returncode, str(error)) == (2, "2 dead letters would be deleted. Say --yes to delete.")
    assert broker.count_dead(DeadFilter(everything=True)) == 2


def test_clearing_that_is_refused_says_the_count_as_json_too(
    broker: EngineBroker, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    bury(broker, "one", "two")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(CommandError):
        call_command("dramatiq_clear_failed", "--json")
    assert json.loads(capsys.readouterr().out) == {"schema": 1, "matched": 2, "cleared": 0, "dry_run": False}


@pytest.mark.parametrize(("answer", "left"), [("y", 0), ("", 2), ("no", 2)])
def test_clearing_on_a_terminal_asks_first(broker: EngineBroker, monkeypatch: Any, answer: str, left: int) -> None:
    bury(broker, "one", "two")
    monkeypatch.setattr("sys.stdin", Terminal(answer + "\n"))
    if left:
        assert str(refusal("dramatiq_clear_failed")) == "Nothing was deleted."
    else:
        assert run("dramatiq_clear_failed").endswith("Deleted 2 dead letters.")
    assert broker.count_dead(DeadFilter(everything=True)) == left


def test_a_question_is_no_part_of_the_document_and_the_end_of_input_means_no(
    broker: EngineBroker, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    bury(broker, "one")
    for answer, left in (("", 1), ("y\n", 0)):
        monkeypatch.setattr("sys.stdin", Terminal(answer))
        try:
            call_command("dramatiq_clear_failed", "--json")
        except CommandError as error:
            assert (str(error), error.returncode) == ("Nothing was deleted.", 1)
        assert broker.count_dead(DeadFilter(everything=True)) == left
    out, err = capsys.readouterr()
    assert json.loads(out)["cleared"] == 1 and err.count("Delete 1 dead letter? ") == 2


def test_ctrl_c_at_a_question_ends_in_one_line(broker: EngineBroker, monkeypatch: Any) -> None:
    def interrupted() -> str:
        raise KeyboardInterrupt

    bury(broker, "one")
    terminal = Terminal()
    monkeypatch.setattr(terminal, "readline", interrupted)
    monkeypatch.setattr("sys.stdin", terminal)
    error = refusal("dramatiq_clear_failed")
    assert (str(error), error.returncode) == ("Interrupted.", 130)
    assert broker.count_dead(DeadFilter(everything=True)) == 1


def test_clearing_takes_only_the_choice(broker: EngineBroker) -> None:
    bury(broker, "one", "two")
    assert run("dramatiq_clear_failed", "--task", "one", "--dry-run") == "Would delete 1 dead letter."
    assert run("dramatiq_clear_failed", "--older-than", "1h", "--yes") == "Deleted 0 dead letters."
    assert run("dramatiq_clear_failed", "--task", "one", "--yes") == "Deleted 1 dead letter."
    assert [letter.task for letter in broker.dead_letters(DeadFilter(everything=True))] == ["two"]


def test_words_choose_as_in_every_list(broker: EngineBroker) -> None:
    bury(broker, "one", "two", "three")
    assert run("dramatiq_clear_failed", "task:one", "state:failed", "--dry-run") == "Would delete 1 dead letter."
    assert run("dramatiq_clear_failed", "task:one before:1h", "--yes") == "Deleted 0 dead letters."
    assert run("dramatiq_clear_failed", "error:valueerror", "--task", "one", "--yes") == "Deleted 1 dead letter."
    assert run("dramatiq_retry_failed", "since:1h", "--task", "two") == "Retried 1 dead letter."
    assert [letter.task for letter in broker.dead_letters(DeadFilter(everything=True))] == ["three"]


def test_words_that_only_records_know_choose_by_the_records(broker: EngineBroker) -> None:
    bury(broker, "one", "two", "three")
    for letter in broker.dead_letters(DeadFilter(everything=True)):
        TaskRecord.objects.create(
            message_id=letter.message_id, task=letter.task, queue="default", state="dead_letter",
            tags=",paid," if letter.task != "three" else "", enqueued_at=timezone.now(), updated_at=timezone.now(),
        )  # fmt: skip
    assert run("dramatiq_retry_failed", "tag:paid", "--dry-run") == "Would retry 2 dead letters."
    assert run("dramatiq_retry_failed", "tag:paid", "--task", "one") == "Retried 1 dead letter."
    assert run("dramatiq_clear_failed", "task:two,three", "--yes") == "Deleted 2 dead letters."
    assert broker.count_dead(DeadFilter(everything=True)) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("tsk:one",), "did you mean 'task'?"),
        (("state:completed",), "only dead letters can be retried or deleted"),
        (("task:one", "--task", "two"), "tasks: given as a word and as an option"),
    ],
)
def test_words_that_say_nothing_clear_are_a_usage_error(broker: EngineBroker, words: Any, said: str) -> None:
    for name in ("dramatiq_retry_failed", "dramatiq_clear_failed"):
        error = refusal(name, *words)
        assert error.returncode == 2 and said in str(error)


@pytest.mark.parametrize("name", ["dramatiq_retry_failed", "dramatiq_clear_failed"])
def test_nothing_in_a_mistyped_queue_is_a_usage_error(broker: EngineBroker, name: str) -> None:
    bury(broker, "one")
    error = refusal(name, "--queue", "defalt")
    assert error.returncode == 2 and "no queue is named 'defalt'; known: " in str(error)


def test_retrying_gives_the_choice_a_fresh_life(broker: EngineBroker) -> None:
    bury(broker, "one", "two")
    found = json.loads(run("dramatiq_retry_failed", "--error", "valueerror", "--task", "two", "--json"))
    assert found == {"schema": 1, "matched": 1, "retried": 1, "dry_run": False}
    (claim,) = Client(broker).claim()
    assert claim.message.actor_name == "two"


def test_a_wrong_duration_says_what_was_expected(broker: EngineBroker) -> None:
    assert "expected a duration like 90s, 15m, 2h or 7d, got '2 weeks'" in str(
        refusal("dramatiq_clear_failed", "--older-than", "2 weeks")
    )


def test_a_broker_that_does_not_answer_is_one_line_and_exit_code_3(broker: EngineBroker, monkeypatch: Any) -> None:
    def away() -> Any:
        raise BrokerUnreachable("connection refused")

    monkeypatch.setattr(dramatiq.get_broker(), "queue_stats", away)
    error = refusal("dramatiq_status")
    assert (error.returncode, str(error)) == (3, "the broker does not answer: connection refused")


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        (BrokerError("Redis at cache:6379 refuses us: WRONGPASS"), "Redis at cache:6379 refuses us: WRONGPASS"),
        (OperationalError("no such table: x"), "a database does not answer as it should: no such table: x; if tables "),
    ],
)
def test_whoever_else_refuses_is_not_called_a_broker_that_does_not_answer(
    broker: EngineBroker, monkeypatch: Any, refused: Exception, said: str
) -> None:
    def refuse() -> Any:
        raise refused

    monkeypatch.setattr(dramatiq.get_broker(), "queue_stats", refuse)
    error = refusal("dramatiq_status")
    assert error.returncode == 3 and str(error).startswith(said)
