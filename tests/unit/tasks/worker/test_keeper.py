"""Chores go on, each at its own pace, whatever happens to the others."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from django.db import connections

from django_cfg.tasks import conf
from django_cfg.tasks.brokers.make import make
from django_cfg.tasks.cron.ticker import Ticker
from django_cfg.tasks.models import EngineState
from django_cfg.tasks.worker import keeper
from django_cfg.testing.waiting import eventually


def test_a_chore_gets_turn_after_turn_until_the_stop() -> None:
    stopping, turns = threading.Event(), []

    def turn() -> float:
        turns.append(len(turns))
        if len(turns) == 3:
            stopping.set()
        return 0.0

    keeper.keep(keeper.Chore("count", turn), stopping)
    assert turns == [0, 1, 2]


def test_an_error_costs_one_turn(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(keeper, "FIRST_BACKOFF_S", 0.01)
    stopping, turns = threading.Event(), []

    def turn() -> float:
        turns.append(1)
        if len(turns) == 1:
            raise OSError("disk full")
        stopping.set()
        return 0.0

    keeper.keep(keeper.Chore("clean", turn), stopping)
    assert len(turns) == 2
    assert "clean failed" in caplog.text


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
def test_after_an_error_a_chore_begins_with_new_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """One to a server that lets nothing be written answers and refuses, for as long as it stays open."""
    monkeypatch.setattr(keeper, "FIRST_BACKOFF_S", 0.01)
    stopping, turns = threading.Event(), list[str]()
    tick = Ticker(make(replace(conf.read(), broker_url="database://postgres")), {})

    def turn() -> float:
        turns.append("begun")
        if len(turns) == 1:
            tick.turn()
            with connections["postgres"].cursor() as cursor:
                cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
        if len(turns) == 6:
            stopping.set()
        tick.turn()
        EngineState.objects.using("postgres").create(name="written", value=1)
        stopping.set()
        return 0.0

    keeper.keep(keeper.Chore("write", turn), stopping)
    assert len(turns) == 2


def test_a_slow_chore_holds_up_no_other() -> None:
    stopping, gate, turned = threading.Event(), threading.Event(), threading.Event()

    def slow() -> float:
        gate.wait()
        return 0.0

    def quick() -> float:
        turned.set()
        return 1.0

    threads = [
        threading.Thread(target=keeper.keep, args=(keeper.Chore(name, turn), stopping), daemon=True)
        for name, turn in (("slow", slow), ("quick", quick))
    ]
    for thread in threads:
        thread.start()
    eventually(turned.is_set)
    stopping.set()
    gate.set()
    for thread in threads:
        thread.join(5)
    assert not any(thread.is_alive() for thread in threads)


def test_nothing_to_do_needs_no_process() -> None:
    assert keeper.process([]) == []
