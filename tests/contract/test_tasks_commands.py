"""`dramatiq_tasks` and `dramatiq_prune`: they parse, call and print; a page never counts or skips."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.models import Attempt, OperatorAction, TaskRecord
from django_cfg.testing.contracts import declare, message
from tests.contract.conftest import serving

pytestmark = pytest.mark.django_db(transaction=True)
NOW = datetime.now(UTC)


@pytest.fixture
def broker(transactional_db: None) -> Any:
    yield from serving("stub://", records="all")


@pytest.fixture
def only_failures(transactional_db: None) -> Any:
    yield from serving("stub://", records="failures")


def run(*words: str, name: str = "dramatiq_tasks") -> str:
    out = io.StringIO()
    call_command(name, *words, stdout=out)
    return out.getvalue().strip()


def refusal(*words: str, name: str = "dramatiq_tasks") -> CommandError:
    with pytest.raises(CommandError) as caught:
        run(*words, name=name)
    return caught.value


def add(number: int, state: str = "completed", **more: Any) -> TaskRecord:
    at = NOW - timedelta(hours=number)
    known = {"message_id": f"m{number:03}", "task": "work", "queue": "default", "enqueued_at": at, "updated_at": at}
    return TaskRecord.objects.create(**{**known, "state": state, **more})


def listed(*words: str) -> list[str]:
    return [row["message_id"] for row in json.loads(run("list", *words, "--json"))["tasks"]]


def test_a_list_is_what_the_filter_chooses_newest_first(broker: EngineBroker) -> None:
    add(1, task="a")
    add(2, state="dead_letter", error_type="ValueError", error="no Route", queue="mail")
    add(3, state="retrying", tags=",x,y,")
    assert listed() == ["m001", "m002", "m003"]
    assert listed("state:failed,retrying") == ["m002", "m003"]
    assert listed("task:a") == ["m001"]
    assert listed("queue:mail error:route") == ["m002"]
    assert listed("tag:y") == ["m003"]
    assert listed("since:150m") == ["m001", "m002"]
    assert listed("id:m003,m001") == ["m001", "m003"]
    assert run("list", "--ids", "state:failed") == "m002"
    assert "ValueError: no Route" in run("list")
    assert run("list", "task:none") == "No recorded tasks match."


def test_pages_follow_one_another_without_a_gap_or_a_repeat(broker: EngineBroker) -> None:
    for number in range(25):
        add(number, state=("completed", "retrying")[number % 2])
    for words in ([], ["state:completed,retrying"]):
        seen: list[str] = []
        after: list[str] = []
        while True:
            page = json.loads(run("list", *words, "--limit", "4", "--json", *after))
            seen += [row["message_id"] for row in page["tasks"]]
            if not page["next"]:
                break
            after = ["--after", page["next"]]
        assert seen == [f"m{number:03}" for number in range(25)]


def test_rows_of_the_same_moment_are_not_lost_between_pages(broker: EngineBroker) -> None:
    for number in range(5):
        add(number, updated_at=NOW)
    first = json.loads(run("list", "--limit", "2", "--json"))
    rest = json.loads(run("list", "--after", first["next"], "--json"))
    found = [row["message_id"] for page in (first, rest) for row in page["tasks"]]
    assert sorted(found) == [f"m{number:03}" for number in range(5)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["list", "stat:failed"], "did you mean 'state'?"),
        (["list", "state:pending"], "pending tasks cannot be listed: tasks that wait have no record"),
        (["list", "--after", "x"], "is no cursor"),
        (["enqueue"], "name a task, or a dead letter with --again"),
        (["enqueue", "none"], "no task is named 'none'"),
        (["enqueue", "work", "--args", "{}"], "expected a JSON list, got '{}'"),
        (["enqueue", "--again", "m404"], "no readable dead letter has the id 'm404'"),
        (["enqueue", "work", "--delay", "9999999d"], "expected a duration of at most 36500d, got '9999999d'"),
        *((["list", "--limit", number], "must be between 1 and 100000") for number in ("0", "-1", "9" * 20)),
        (["failures", "--limit", "-1"], "must be between 1 and"),
        (["audit", "--limit", "many"], "expected a whole number, got 'many'"),
    ],
)
def test_what_is_wrong_is_a_usage_error(broker: EngineBroker, words: list[str], said: str) -> None:
    error = refusal(*words)
    assert said in str(error) and "does not answer" not in str(error)


def test_a_state_that_is_not_recorded_is_refused_by_the_setting_s_name(only_failures: EngineBroker) -> None:
    error = refusal("list", "state:completed")
    assert error.returncode == 2
    assert "records='failures' does not record them" in str(error)
    assert "queue_stats" in str(error)


def test_one_task_is_shown_with_its_attempts(broker: EngineBroker) -> None:
    add(1, state="dead_letter", arguments='{"a":1}')
    Attempt.objects.create(
        message_id="m001", generation=1, fence=1, ended_as="dead", traceback="Trace: back", ended_at=NOW
    )
    assert '{"a":1}' in run("show", "m001")
    assert "Trace: back" in run("show", "m001")
    document = json.loads(run("show", "m001", "--json"))
    assert (document["task"]["state"], len(document["attempts"])) == ("dead_letter", 1)
    assert refusal("show", "m404").returncode == 1


@pytest.mark.django_db(transaction=True, databases="__all__")  # cancelling looks into every outbox
def test_acts_go_through_the_broker_and_name_the_command(broker: EngineBroker) -> None:
    declare(lambda a: None, actor_name="work")
    sent = broker.enqueue(message(), delay=60_000)
    assert run("cancel", sent.message_id) == "Cancelled 1 of 1 tasks."
    assert refusal("cancel", sent.message_id).returncode == 1
    broker.declare_queue("mail")
    assert run("pause", "mail") == "Paused: mail."
    assert json.loads(run("resume", "mail", "--json")) == {"schema": 1, "queue": "mail", "paused": False}
    message_id = run("enqueue", "work", "--args", "[1]", "--delay", "1h")
    assert broker.holds(message_id)
    acts = OperatorAction.objects.order_by("id").values_list("action", "source", "affected")
    assert list(acts) == [
        *(("cancel", "command", 1), ("cancel", "command", 0), ("pause", "command", 1)),
        *(("resume", "command", 1), ("enqueue", "command", 1)),
    ]
    assert "pause" in run("audit")


def test_a_queue_that_nobody_knows_is_neither_paused_nor_resumed(broker: EngineBroker) -> None:
    broker.declare_queue("mail")
    error = refusal("pause", "mial")
    assert (error.returncode, broker.paused_queues()) == (2, frozenset())
    assert "no queue is named 'mial'; known: " in str(error) and "mail" in str(error)
    error = refusal("resume", "mial")
    assert error.returncode == 2 and "no queue is named 'mial'; known: " in str(error)
    broker.pause("gone")
    assert run("resume", "gone") == "Resumed: gone."


@pytest.mark.django_db(transaction=True, databases="__all__")  # the doctor looks into every outbox
def test_control_characters_of_a_task_cannot_move_the_terminal_s_cursor(broker: EngineBroker) -> None:
    add(1, task="\x1b[2Jevil", error_type="E", error="\x1b]0;x\x07", log="one\ntwo\x1b[2J")
    Attempt.objects.create(
        message_id="m001", generation=1, fence=1, ended_as="dead", traceback="Trace:\n\tb\x1b[2Jack", ended_at=NOW
    )
    said = [run("list"), run("show", "m001"), run("m001", name="dramatiq_doctor")]
    assert all("evil" in text and "\x1b" not in text and "\x07" not in text for text in said)
    assert "Trace:\n\tb [2Jack" in said[1] and "\n                two" in said[1]


def test_pruning_that_is_refused_says_the_counts_as_json_too(
    broker: EngineBroker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add(24 * 31)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(CommandError):
        call_command("dramatiq_prune", "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["dry_run"] and found["pruned"]["records"] == 1


def test_pruning_asks_and_counts(broker: EngineBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    add(24 * 31)
    add(1)
    assert run("--dry-run", name="dramatiq_prune").startswith("Would delete 1 rows: 1 records")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert refusal(name="dramatiq_prune").returncode == 2
    assert json.loads(run("--yes", "--json", name="dramatiq_prune"))["pruned"]["records"] == 1
    assert run("--yes", "--older-than", "2h", name="dramatiq_prune").startswith("Deleted 0 rows")
    assert [row.action for row in OperatorAction.objects.all()] == ["prune"]


def test_records_off_says_so(transactional_db: None) -> None:
    for _ in serving("stub://", records="off"):
        assert "records='off' keeps no records" in str(refusal("list"))
        with override_settings():
            assert "records='off'" in str(refusal("failures"))
        for name in ("dramatiq_retry_failed", "dramatiq_clear_failed"):
            error = refusal("tag:x", name=name)
            assert error.returncode == 2 and "records='off' keeps no records" in str(error)
