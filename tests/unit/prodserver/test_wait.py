"""`--wait-for` returns when everything answers, and says what does not."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from django_prodserver.errors import ProdserverError
from django_prodserver.wait import wait_for


def silent(_: str) -> None:
    pass


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.mark.django_db
def test_database_and_broker_that_answer_are_not_waited_for() -> None:
    said: list[str] = []
    wait_for(["db", "db:default", "broker"], 0, said.append)
    assert said == []


def test_what_comes_up_later_is_waited_for(port: int) -> None:
    said: list[str] = []
    servers: list[socket.socket] = []
    timer = threading.Timer(0.3, lambda: servers.append(socket.create_server(("127.0.0.1", port))))
    timer.start()
    try:
        wait_for([f"127.0.0.1:{port}"], 10, said.append)
    finally:
        timer.join()
        for server in servers:
            server.close()
    assert len(said) == 1 and said[0].startswith(f"Waiting for 127.0.0.1:{port}: ")


def test_time_that_runs_out_is_its_own_exit_code(port: int) -> None:
    with pytest.raises(ProdserverError, match=rf"127.0.0.1:{port} did not answer within 0.1 s: ") as caught:
        wait_for([f"127.0.0.1:{port}"], 0.1, silent)
    assert caught.value.code == 3


def test_redis_broker_is_reached_by_host_and_port_without_its_password(settings: Any, port: int) -> None:
    settings.DRAMATIQ_BROKER = {"OPTIONS": {"url": f"redis://ann:opensesame@127.0.0.1:{port}/2"}}
    with pytest.raises(ProdserverError, match="broker did not answer") as caught:
        wait_for(["broker"], 0, silent)
    assert f"127.0.0.1:{port}" in str(caught.value) and "opensesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("cache", "--wait-for cache: expected db, db:ALIAS, broker, or HOST:PORT"),
        ("db:nowhere", "--wait-for db:nowhere: DATABASES has "),
        ("host:x", "--wait-for host:x: expected"),
    ],
)
def test_what_is_no_target_is_refused(target: str, said: str) -> None:
    with pytest.raises(ProdserverError) as caught:
        wait_for([target], 0, silent)
    assert said in str(caught.value) and caught.value.code == 2


@pytest.mark.parametrize(
    ("url", "said"), [("", "no broker is configured"), ("sqs://", "no host and port are known for a 'sqs' broker")]
)
def test_broker_that_cannot_be_asked_is_refused(settings: Any, url: str, said: str) -> None:
    settings.DRAMATIQ_BROKER = {"OPTIONS": {"url": url}}
    with pytest.raises(ProdserverError, match=said):
        wait_for(["broker"], 0, silent)
