"""Admin pages escape everything, ask for a permission for each act, act by POST alone, and never count or skip."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from django_cfg.errors import BrokerUnreachable
from django_cfg.tasks import queries
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import DeadFilter
from django_cfg.tasks.models import OperatorAction, TaskRecord
from django_cfg.testing.contracts import message
from tests.unit.tasks.admin.conftest import EVIL, NOW, PAGES, announce, bury, login, one_of_everything, record, url

pytestmark = pytest.mark.django_db(transaction=True)
ALL = DeadFilter(everything=True)
ACTS = {"taskrecord": ["retry"], "deadletter": ["retry"], "errorgroup": ["retry"], "attempt": []}


@pytest.mark.parametrize("page", PAGES)
def test_every_page_escapes_task_data(operator: Client, broker: EngineBroker, page: str) -> None:
    keys = one_of_everything(broker)
    for address in (url(page), *([url(page, keys[page])] if page in keys else [])):
        answer = operator.get(address)
        assert answer.status_code == 200
        assert EVIL not in answer.content.decode()
        assert "&lt;script&gt;" in answer.content.decode()
        assert "private, no-store" in answer.headers["Cache-Control"]


@pytest.mark.parametrize("page", ["taskrecord", "deadletter", "errorgroup", "attempt"])
def test_a_hostile_query_is_escaped_too(operator: Client, broker: EngineBroker, page: str) -> None:
    answer = operator.get(url(page), {"q": f"{EVIL}:x", "after": EVIL})
    assert answer.status_code == 200
    assert EVIL not in answer.content.decode()


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(("permissions", "code"), [((), 403), (("view_{page}",), 200)])
def test_a_page_is_for_staff_that_may_view_it(
    client: Client, broker: EngineBroker, page: str, permissions: tuple[str, ...], code: int
) -> None:
    keys = one_of_everything(broker)
    assert client.get(url(page)).status_code == 302  # to the login
    login(client, *(name.format(page=page) for name in permissions))
    assert client.get(url(page)).status_code == code
    if page in keys:
        assert client.get(url(page, keys[page])).status_code == code


@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_added_changed_or_deleted_as_an_object(operator: Client, broker: EngineBroker, page: str) -> None:
    key = one_of_everything(broker).get(page, "x")
    assert operator.get(f"{url(page)}add/").status_code == 403
    assert operator.post(url(page, key), {"task": "x"}).status_code == 405
    assert operator.post(f"{url(page)}{key}/delete/", {"post": "yes"}).status_code in (403, 404, 302)
    assert TaskRecord.objects.count() == 1


@pytest.mark.parametrize("act", ["retry", "discard", "cancel"])
def test_each_act_wants_its_own_permission(client: Client, broker: EngineBroker, act: str) -> None:
    letter = bury(broker)
    record(letter, "dead_letter")
    others = {"retry_task", "discard_task", "cancel_task"} - {f"{act}_task"}
    login(client, "view_taskrecord", *others)
    assert f'value="{act}"' not in client.get(url("taskrecord")).content.decode()
    assert client.post(url("taskrecord"), {"act": act, "key": letter, "confirmed": "yes"}).status_code == 403
    assert client.post(url("taskrecord"), {"act": act, "scope": "all", "confirmed": "yes"}).status_code == 403
    assert not OperatorAction.objects.exists()
    assert queries.count_failed(ALL) == 1


def test_an_act_without_its_token_is_refused(broker: EngineBroker) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(get_user_model().objects.create_superuser("op", "op@example.com", "x"))
    letter = bury(broker)
    for page in ("taskrecord", "deadletter", "queue"):
        assert strict.post(url(page), {"act": "retry", "key": letter}).status_code == 403


def test_looking_never_acts(operator: Client, broker: EngineBroker) -> None:
    letter = bury(broker)
    for page in PAGES:
        operator.get(url(page), {"act": "retry", "key": letter, "confirmed": "yes", "scope": "all"})
    assert queries.count_failed(ALL) == 1


@pytest.mark.parametrize("page", ["taskrecord", "deadletter"])
def test_selected_dead_letters_are_retried_and_the_act_has_the_user_s_name(
    operator: Client, broker: EngineBroker, page: str
) -> None:
    one, other = bury(broker), bury(broker)
    record(one, "dead_letter")
    answer = operator.post(url(page), {"act": "retry", "key": one}, follow=True)
    assert "Retried 1 dead letter." in answer.content.decode()
    assert [letter.message_id for letter in broker.dead_letters(ALL)] == [other]
    assert TaskRecord.objects.get().state == "pending"
    [act] = OperatorAction.objects.all()
    assert (act.actor, act.source, act.action, act.affected) == ("op", "admin", "retry", 1)


@pytest.mark.parametrize("page", ["taskrecord", "deadletter"])
def test_all_that_match_is_asked_first_and_takes_no_other(operator: Client, broker: EngineBroker, page: str) -> None:
    for task in ("a", "a", "b"):
        record(bury(broker, task), "dead_letter", task=task)
    wanted = {"act": "discard", "scope": "all", "q": "task:a"}
    question = operator.post(url(page), wanted)
    assert "All dead letters that match" in question.content.decode()
    assert queries.count_failed(ALL) == 3
    operator.post(url(page), {**wanted, "confirmed": "yes"})
    assert [letter.task for letter in broker.dead_letters(ALL)] == ["b"]
    assert [found.task for found in TaskRecord.objects.all()] == ["b"]


def test_a_paused_queue_says_so(operator: Client, broker: EngineBroker) -> None:
    bury(broker)
    row = "".join(operator.get(url("queue")).content.decode().split())
    assert ">paused</span>" not in row
    operator.post(url("queue"), {"act": "pause", "key": "default"})
    assert ">paused</span>" in "".join(operator.get(url("queue")).content.decode().split())


def test_dead_letters_have_pages_and_a_wrong_cursor_is_a_message(operator: Client, broker: EngineBroker) -> None:
    ids = {bury(broker) for _ in range(60)}
    first = operator.get(url("deadletter"))
    second = operator.get(url("deadletter") + first.context["older"])
    shown = [{row.key for row in page.context["listing"].rows} for page in (first, second)]
    assert [len(keys) for keys in shown] == [50, 10] and shown[0] | shown[1] == ids
    assert not second.context["older"] and second.context["newest"]
    assert "is no cursor" in operator.get(url("deadletter") + "?after=x").content.decode()


def test_a_fault_is_retried_as_a_whole(operator: Client, broker: EngineBroker) -> None:
    one_of_everything(broker)
    operator.post(url("errorgroup"), {"act": "retry", "key": "f"})
    assert queries.count_failed(ALL) == 0


def test_a_waiting_retry_is_cancelled_when_confirmed(operator: Client, broker: EngineBroker) -> None:
    sent = broker.enqueue(message(), delay=60_000)
    record(sent.message_id, "retrying")
    operator.post(url("taskrecord"), {"act": "cancel", "key": sent.message_id})
    assert broker.holds(sent.message_id)
    operator.post(url("taskrecord"), {"act": "cancel", "key": sent.message_id, "confirmed": "yes"})
    assert not broker.holds(sent.message_id)
    assert TaskRecord.objects.get().state == "cancelled"


def test_queues_are_paused_and_resumed(operator: Client, broker: EngineBroker, monkeypatch: Any) -> None:
    broker.declare_queue("mail")
    assert "mail" in operator.get(url("queue")).content.decode()
    for act in ("pause", "resume"):
        operator.post(url("queue"), {"act": act, "key": "mail"})
    assert list(OperatorAction.objects.order_by("id").values_list("action", flat=True)) == ["pause", "resume"]


def test_an_act_that_fails_is_said_and_noted(operator: Client, broker: EngineBroker) -> None:
    answer = operator.post(
        url("deadletter"), {"act": "retry", "scope": "all", "q": "x", "confirmed": "yes"}, follow=True
    )
    assert "Expected NAME:VALUE" in answer.content.decode()


def test_a_state_that_is_not_recorded_is_refused_on_the_page(operator: Client, broker: EngineBroker) -> None:
    page = operator.get(url("taskrecord"), {"q": "state:pending"}).content.decode()
    assert "Pending tasks cannot be listed" in page


def test_pages_follow_one_another_and_no_query_counts_or_skips(operator: Client, broker: EngineBroker) -> None:
    TaskRecord.objects.bulk_create(
        TaskRecord(
            message_id=f"m{n:03}", task="t", queue="q", state="completed", enqueued_at=NOW,
            updated_at=NOW - timedelta(minutes=n),
        )
        for n in range(120)
    )  # fmt: skip
    seen: list[str] = []
    address = url("taskrecord")
    with CaptureQueriesContext(
        connection,
    ) as asked:
        while address:
            answer = operator.get(address)
            listing = answer.context["listing"]
            seen += [row.key for row in listing.rows]
            address = f"{url('taskrecord')}{answer.context['older']}" if listing.next else ""
    assert seen == [f"m{n:03}" for n in range(120)]
    about_tasks = [q["sql"].upper() for q in asked if "TASKRECORD" in q["sql"].upper()]
    assert not any("COUNT(" in sql or "OFFSET" in sql for sql in about_tasks)


def test_a_lost_worker_is_told_from_one_that_works(operator: Client, broker: EngineBroker) -> None:
    announce("here", "charge")
    announce("gone", "export", silent_s=60)
    page = operator.get(url("worker"))
    rows = {row.key: [cell.text for cell in row.cells] for row in page.context["listing"].rows}
    assert rows["here:4711"][1:4] == ["active", rows["here:4711"][2], "1 of 8"]
    assert rows["here:4711"][2].startswith("charge for 3.")
    assert rows["gone:4711"][1:4] == ["lost", "", "0 of 8"]


def test_what_all_that_match_means_is_told_before_it_is_done(operator: Client, broker: EngineBroker) -> None:
    letter = bury(broker)
    record(letter, "dead_letter")
    record("no-letter", "completed")
    question = operator.post(url("taskrecord"), {"act": "discard", "scope": "all"}).content.decode()
    assert "All dead letters that match: 1, for example" in question
    assert letter in question and "no-letter" not in question and "deleted for good" in question
    question = operator.post(url("taskrecord"), {"act": "retry", "scope": "all", "q": "state:completed"})
    assert "that match “state:completed”: 0" in question.content.decode()


def test_going_back_from_a_question_keeps_the_query(operator: Client, broker: EngineBroker) -> None:
    record(bury(broker), "dead_letter")
    question = operator.post(url("taskrecord"), {"act": "discard", "scope": "all", "q": "task:work"})
    assert question.context["back"] == f"{url('taskrecord')}?q=task%3Awork"


def test_an_unclear_query_is_a_message_also_when_it_asks(operator: Client, broker: EngineBroker) -> None:
    answer = operator.post(url("taskrecord"), {"act": "retry", "scope": "all", "q": "x:y"}, follow=True)
    assert answer.status_code == 200 and answer.context["messages"]


@pytest.mark.parametrize("page", ["attempt", "operatoraction"])
@pytest.mark.parametrize("key", ["x", "-1", "9" * 30])
def test_a_key_that_names_nothing_is_not_found(operator: Client, broker: EngineBroker, page: str, key: str) -> None:
    assert operator.get(url(page, key)).status_code == 404


@pytest.mark.parametrize("page", ["taskrecord", "deadletter", "errorgroup", "attempt"])
def test_a_text_that_no_database_holds_is_refused_before_it_is_asked(
    operator: Client, broker: EngineBroker, page: str
) -> None:
    for answer in (
        operator.get(url(page), {"q": "task:\0"}),
        operator.get(url(page), {"after": "1.\0"}),
        *(operator.post(url(page), {"act": act, "key": "\0"}, follow=True) for act in ACTS[page]),
    ):
        assert "NUL" in answer.content.decode()
    assert operator.get(url(page, "%00")).status_code == 404
    assert not OperatorAction.objects.exists()


@pytest.mark.parametrize("error", [OperationalError("connection refused"), BrokerUnreachable("connection refused")])
def test_a_store_that_is_away_is_a_message_on_each_page(
    operator: Client, broker: EngineBroker, monkeypatch: Any, error: Exception
) -> None:
    def away(*args: Any, **more: Any) -> Any:
        raise error

    for name in ("dead_letters", "retry_dead", "queue_stats", "pause"):
        monkeypatch.setattr(broker, name, away)
    for answer in (
        operator.get(url("deadletter")),
        operator.get(url("deadletter", "x"), follow=True),
        operator.post(url("deadletter"), {"act": "retry", "key": "x"}, follow=True),
        operator.get(url("queue")),
        operator.post(url("queue"), {"act": "pause", "key": "default"}, follow=True),
    ):
        said = [str(one) for one in answer.context["messages"]]
        assert (answer.status_code, set(said)) == (200, {"connection refused"})
