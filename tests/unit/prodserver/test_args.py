"""ARGS become an argv that the real parser of each server accepts."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from django_prodserver.args import overridden, translate
from django_prodserver.backends.daphne import DaphneServer
from django_prodserver.backends.granian import GranianWSGIServer
from django_prodserver.backends.gunicorn import GunicornServer
from django_prodserver.backends.hypercorn import HypercornServer
from django_prodserver.backends.uvicorn import UvicornServer
from django_prodserver.backends.waitress import WaitressServer
from django_prodserver.errors import ProdserverError
from django_prodserver.options import Options
from django_prodserver.readers import from_argparse
from tests.installed import needs

SERVERS = {
    "gunicorn": GunicornServer,
    "uvicorn": UvicornServer,
    "granian": GranianWSGIServer,
    "waitress": WaitressServer,
    "hypercorn": HypercornServer,
    "daphne": DaphneServer,
}


def argv(server: str, **args: Any) -> list[str]:
    needs(server)
    return translate(args, SERVERS[server]().options())


@pytest.mark.parametrize(
    ("server", "args", "expected"),
    [
        ("gunicorn", {"bind": "0.0.0.0:8000", "workers": "4"}, ["--bind=0.0.0.0:8000", "--workers=4"]),
        ("gunicorn", {"workers": 4, "worker_class": "gthread"}, ["--workers=4", "--worker-class=gthread"]),
        ("gunicorn", {"bind": ["a:1", "b:2"]}, ["--bind=a:1", "--bind=b:2"]),
        ("gunicorn", {"w": 3}, ["--workers=3"]),
        ("gunicorn", {"preload": True}, ["--preload"]),
        ("gunicorn", {"preload": None}, ["--preload"]),
        ("gunicorn", {"preload": False}, []),
        ("gunicorn", {"preload": "true"}, ["--preload"]),
        ("gunicorn", {"max-requests": 0}, ["--max-requests=0"]),
        ("gunicorn", {"access-logfile": "-"}, ["--access-logfile=-"]),
        ("uvicorn", {"proxy_headers": False, "port": 80}, ["--no-proxy-headers", "--port=80"]),
        ("uvicorn", {"ws_per_message_deflate": False}, ["--ws-per-message-deflate=false"]),
        ("uvicorn", {"header": ["a:b", "c:d"]}, ["--header=a:b", "--header=c:d"]),
        ("granian", {"workers": "2", "http1-keep-alive": "no"}, ["--workers=2", "--no-http1-keep-alive"]),
        ("granian", {"workers-kill-timeout": 1.5}, ["--workers-kill-timeout=1.5"]),
        ("waitress", {"listen": ["*:80", "*:81"], "threads": 8}, ["--listen=*:80", "--listen=*:81", "--threads=8"]),
        ("waitress", {"expose_tracebacks": False, "ipv6": True}, ["--no-expose-tracebacks", "--ipv6"]),
        ("hypercorn", {"bind": ["a:1", "b:2"], "debug": True}, ["--bind=a:1", "--bind=b:2", "--debug"]),
        ("daphne", {"port": 8001, "websocket-timeout": 5}, ["--port=8001", "--websocket_timeout=5"]),
    ],
)
def test_values_become_the_argv_of_the_server(server: str, args: dict[str, Any], expected: list[str]) -> None:
    assert argv(server, **args) == expected


@pytest.mark.parametrize(
    ("server", "args", "said"),
    [
        ("gunicorn", {"worker": 4, "thread": 2}, "unknown option 'worker'; did you mean 'workers'?"),
        ("gunicorn", {"colour": 1}, "unknown option 'colour'"),
        ("granian", {"worker_count": 4}, "unknown option 'worker_count'; did you mean"),
        ("uvicorn", {"threads": 4}, "unknown option 'threads'"),
        ("waitress", {"worker": 4}, "unknown option 'worker'"),
        ("gunicorn", {"workers": None}, "workers: expected a value, got None; leave it out for the server's default"),
        ("gunicorn", {"workers": True}, "workers: expected a value, got True"),
        ("gunicorn", {"workers": [1, 2]}, "workers: takes one value, got a list of 2"),
        ("gunicorn", {"preload": "perhaps"}, "preload: is a flag; expected true or false, got 'perhaps'"),
        ("gunicorn", {"preload": ["a"]}, "preload: takes one value, got a list of 1"),
    ],
)
def test_what_the_server_would_not_understand_is_refused(server: str, args: dict[str, Any], said: str) -> None:
    with pytest.raises(ProdserverError) as refusal:
        argv(server, **args)
    assert said in str(refusal.value)
    assert refusal.value.code == 2


def test_all_wrong_options_are_reported_at_once() -> None:
    with pytest.raises(ProdserverError) as refusal:
        argv("gunicorn", wrkers=1, bnd=":8000", workers=2)
    assert [line.split(";")[1] for line in str(refusal.value).splitlines()] == [
        " did you mean 'workers'?",
        " did you mean 'bind'?",
    ]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["--workers=9"], ["--bind=a:1", "--preload", "--workers=9"]),
        (["-w", "9"], ["--bind=a:1", "--preload", "-w", "9"]),
        (["-w9"], ["--bind=a:1", "--preload", "-w9"]),
        (["--bind", "b:2"], ["--workers=4", "--preload", "--bind", "b:2"]),
        (["--threads", "2"], ["--bind=a:1", "--workers=4", "--preload", "--threads", "2"]),
    ],
)
def test_command_line_replaces_what_args_say_about_the_same(overrides: list[str], expected: list[str]) -> None:
    needs("gunicorn")
    backend = GunicornServer(ARGS={"bind": "a:1", "workers": 4, "preload": True})
    assert backend.prep_server_args(overrides) == expected


def test_unknown_option_after_the_dashes_is_refused() -> None:
    needs("gunicorn")
    with pytest.raises(ProdserverError, match=r"after --: unknown option '--workrs'; did you mean 'workers'\?"):
        GunicornServer(ARGS={}).prep_server_args(["--workrs", "2"])


def test_list_of_texts_reaches_the_server_as_it_is() -> None:
    needs("gunicorn")
    assert GunicornServer(ARGS=["-w", "2", "--preload"]).prep_server_args() == ["-w", "2", "--preload"]


def test_unknown_option_in_a_list_of_texts_is_refused() -> None:
    needs("gunicorn")
    with pytest.raises(ProdserverError, match="unknown option '--prelaod'; did you mean 'preload'"):
        GunicornServer(ARGS=["--prelaod"]).prep_server_args()


def test_option_without_its_value_is_refused() -> None:
    needs("gunicorn")
    with pytest.raises(ProdserverError, match="--workers: expected a value, got nothing"):
        GunicornServer(ARGS=["--workers"]).prep_server_args()


def test_defaults_give_way_to_args_and_to_the_command_line() -> None:
    needs("granian")
    assert "--workers-kill-timeout=30" in GranianWSGIServer(ARGS={}).prep_server_args()
    assert GranianWSGIServer(ARGS={"workers_kill_timeout": 5}).prep_server_args() == [
        "--interface=wsgi",
        "--workers-kill-timeout=5",
    ]
    assert GranianWSGIServer(ARGS={}).prep_server_args(["--workers-kill-timeout", "7"]) == [
        "--interface=wsgi",
        "--workers-kill-timeout",
        "7",
    ]


def parser() -> Options:
    made = argparse.ArgumentParser()
    made.add_argument("--queues", nargs="+")
    made.add_argument("--colour", action=argparse.BooleanOptionalAction)
    made.add_argument("--watch", nargs="?", const=".")
    made.add_argument("--queue-name")
    made.add_argument("--quiet", action="store_true")
    return Options(from_argparse(made), abbreviations=True)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({"queues": ["a", "b"]}, ["--queues", "a", "b"]),
        ({"queues": []}, []),
        ({"colour": False}, ["--no-colour"]),
        ({"no-colour": True}, ["--no-colour"]),
        ({"watch": True}, ["--watch"]),
        ({"watch": None}, ["--watch"]),
        ({"watch": False}, []),
        ({"watch": "src"}, ["--watch=src"]),
        ({"queue-n": "x"}, ["--queue-name=x"]),
    ],
)
def test_shapes_of_argparse(args: dict[str, Any], expected: list[str]) -> None:
    assert translate(args, parser()) == expected


def test_ambiguous_abbreviation_is_refused() -> None:
    with pytest.raises(ProdserverError, match="unknown option 'qu'"):
        translate({"qu": 1}, parser())


def test_misspelt_option_in_args_survives_an_override_and_is_then_reported() -> None:
    assert overridden({"quiett": True, "quiet": True}, ["--quiet"], parser()) == {"quiett": True}


def test_server_that_cannot_be_asked_gets_the_plain_translation() -> None:
    values: dict[str, Any] = {"processes": "4", "queue": "default", "burst": True, "name": ["a", "b"]}
    assert translate(values, None) == ["--processes=4", "--queue=default", "--burst", "--name=a", "--name=b"]
