"""Every path of a backend resolves, and what is missing is said in one line with its cure."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import get_commands

from django_prodserver.backends.base import BaseServerBackend, host_and_port
from django_prodserver.conf import Process
from django_prodserver.errors import ProdserverError
from django_prodserver.plan import choose, load, plan
from tests.installed import needs

SHORT = (
    "gunicorn.GunicornServer",
    "uvicorn.UvicornServer",
    "uvicorn.UvicornWSGIServer",
    "granian.GranianASGIServer",
    "granian.GranianWSGIServer",
    "waitress.WaitressServer",
    "hypercorn.HypercornServer",
    "daphne.DaphneServer",
    "celery.CeleryWorker",
    "celery.CeleryBeat",
    "celery.CeleryFlower",
    "django_tasks.DjangoTasksWorker",
    "django_q2.DjangoQ2Worker",
    "rq.RQWorker",
    "huey.HueyWorker",
    "dramatiq.DramatiqWorker",
    "dramatiq.CronTicker",
    "django_runserver.DjangoRunserver",
    "daphne.DaphneRunserver",
    "werkzeug.WerkzeugRunserver",
    "werkzeug.RunserverPlus",
    "base.BaseServerBackend",
    "base.BaseWorkerBackend",
)
LONG = (
    "servers.gunicorn.GunicornServer",
    "servers.uvicorn.UvicornServer",
    "servers.uvicorn.UvicornWSGIServer",
    "servers.granian.GranianASGIServer",
    "servers.granian.GranianWSGIServer",
    "servers.waitress.WaitressServer",
    "servers.flower.CeleryFlower",
    "workers.celery.CeleryWorker",
    "workers.celery.CeleryBeat",
    "workers.django_q2.DjangoQ2Worker",
    "workers.django_tasks.DjangoTasksWorker",
    "dev.daphne.DaphneRunserver",
    "dev.django_runserver.DjangoRunserver",
    "dev.werkzeug.WerkzeugRunserver",
    "dev.werkzeug.RunserverPlus",
)
PREFIX = "django_prodserver.backends."


@pytest.mark.parametrize("path", [*SHORT, *LONG])
def test_path_resolves_to_a_backend(path: str) -> None:
    assert load(PREFIX + path).__name__ == path.rpartition(".")[2]


@pytest.mark.parametrize("path", LONG)
def test_longer_path_is_the_same_class(path: str) -> None:
    module, name = path.split(".")[1:]
    short = "celery" if module == "flower" else module
    assert load(PREFIX + path) is load(f"{PREFIX}{short}.{name}")


def refusal(path: str, **entry: object) -> ProdserverError:
    with pytest.raises(ProdserverError) as caught:
        plan(Process(name="it", backend=path, **entry))  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (PREFIX + "gunicorn.Gunicorn", "BACKEND 'django_prodserver.backends.gunicorn.Gunicorn' cannot be imported"),
        ("nowhere.Server", "BACKEND 'nowhere.Server' cannot be imported"),
        ("pathlib.Path", "BACKEND 'pathlib.Path' is not a subclass of BaseServerBackend"),
    ],
)
def test_path_of_no_backend_is_refused(path: str, said: str) -> None:
    assert f"it: {said}" in str(refusal(path))


def test_missing_package_is_one_line_that_names_the_extra() -> None:
    class Absent(BaseServerBackend):
        package, extra = "surely_not_installed", "absent"

    with pytest.raises(ProdserverError) as caught:
        Absent(ARGS={}).require()
    assert str(caught.value) == (
        "Absent needs the package 'surely_not_installed', which is not installed; "
        "pip install 'django-cfg-tasks[absent]'"
    )
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("path", "command"),
    [("dramatiq.CronTicker", "dramatiq_cron"), ("django_tasks.DjangoTasksWorker", "db_worker")],
)
def test_worker_whose_command_the_project_lacks_is_refused_in_one_line(
    path: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = {name: app for name, app in get_commands().items() if name != command}
    monkeypatch.setattr("django_prodserver.backends.base.get_commands", lambda: others)
    text = str(refusal(PREFIX + path))
    assert f"this project has no command {command!r}; " in text and "\n" not in text


@pytest.mark.parametrize(
    ("args", "argv"),
    [
        ({"processes": "4", "threads": "1"}, ["--processes=4", "--threads=1"]),
        ({"processes": "4", "threads": "1", "queue": "default"}, ["--processes=4", "--threads=1", "--queue=default"]),
        (
            {"processes": "4", "threads": "2", "verbosity": "1"},
            ["--processes=4", "--threads=2", "--verbosity=1"],
        ),
        ({"queue": "priority", "processes": "2"}, ["--queue=priority", "--processes=2"]),
    ],
)
def test_documented_args_of_the_django_tasks_worker(args: dict[str, str], argv: list[str]) -> None:
    backend = load(PREFIX + "django_tasks.DjangoTasksWorker")(ARGS=args)
    assert [word for word in backend.prep_server_args() if word != "--no-reload"] == argv


def test_dramatiq_worker_is_the_command_of_the_task_app() -> None:
    args = {"processes": 2, "threads": 3, "queues": ["default", "mail"], "log_level": "warning"}
    planned = plan(Process("worker", PREFIX + "dramatiq.DramatiqWorker", args))  # type: ignore[arg-type]

    assert planned.argv == [
        "--processes=2", "--threads=3", "--queues=default", "--queues=mail", "--log-level=warning",
    ]  # fmt: skip
    assert planned.backend.command(planned.argv)[-6:] == ["rundramatiq", *planned.argv]
    assert planned.facts.processes == 2 and planned.facts.stop_s == 38


def test_unknown_option_of_a_command_is_refused() -> None:
    text = str(refusal(PREFIX + "dramatiq.DramatiqWorker", args={"proceses": 2}))
    assert text == "it: ARGS: unknown option 'proceses'; did you mean 'processes'?"


def test_stop_timeout_of_the_entry_wins() -> None:
    process = Process("worker", PREFIX + "dramatiq.DramatiqWorker", stop_timeout=7)
    assert plan(process).facts.stop_s == 7


def test_application_is_the_entry_s_or_the_project_s_or_our_own(settings: Any) -> None:
    needs("gunicorn")

    def served(app: str | None) -> str:
        return load(PREFIX + "gunicorn.GunicornServer")(ARGS={}, APP=app).command([])[-1]

    settings.WSGI_APPLICATION = None
    assert served(None) == "django_prodserver.wsgi:application"
    settings.WSGI_APPLICATION = "shop.wsgi.application"
    assert served(None) == "shop.wsgi:application"
    assert served("other.wsgi:app") == "other.wsgi:app"


@pytest.mark.parametrize(
    ("backend", "args", "addresses", "processes"),
    [
        ("gunicorn.GunicornServer", {"bind": ["0.0.0.0:80", "unix:/run/x"], "workers": 3}, (("0.0.0.0", 80),), 3),
        ("gunicorn.GunicornServer", {"bind": "[::1]:81"}, (("::1", 81),), 1),
        ("gunicorn.GunicornServer", {"bind": ":82"}, (("0.0.0.0", 82),), 1),
        ("gunicorn.GunicornServer", {}, (("127.0.0.1", 8000),), 1),
        ("uvicorn.UvicornServer", {"port": 83, "workers": 2}, (("127.0.0.1", 83),), 2),
        ("uvicorn.UvicornServer", {"uds": "/run/x"}, (), 1),
        ("granian.GranianWSGIServer", {"host": "::", "port": 84}, (("::", 84),), 1),
        ("waitress.WaitressServer", {}, (("0.0.0.0", 8080),), 1),
        ("waitress.WaitressServer", {"listen": "*:85"}, (("0.0.0.0", 85),), 1),
        ("daphne.DaphneServer", {"port": 86}, (("127.0.0.1", 86),), 1),
        ("hypercorn.HypercornServer", {"bind": "127.0.0.1:87"}, (("127.0.0.1", 87),), 1),
    ],
)
def test_address_and_processes_are_known_before_the_start(
    backend: str, args: dict[str, object], addresses: object, processes: int
) -> None:
    needs(backend.split(".")[0])
    facts = plan(Process("web", PREFIX + backend, args)).facts  # type: ignore[arg-type]
    assert (facts.addresses, facts.processes) == (addresses, processes)


def test_development_server_takes_its_address_as_a_position() -> None:
    planned = plan(Process("dev", PREFIX + "django_runserver.DjangoRunserver", {"addrport": "0.0.0.0:8001"}))
    assert planned.argv == ["0.0.0.0:8001"] and planned.facts.addresses == (("0.0.0.0", 8001),)


@pytest.mark.parametrize("text", ["unix:/run/x", "fd://3", "/run/x"])
def test_socket_is_no_address(text: str) -> None:
    assert host_and_port(text, 8000) is None


def test_unknown_name_shows_the_known_ones() -> None:
    processes = {"web": Process("web", "a.B"), "worker": Process("worker", "a.B")}
    with pytest.raises(ProdserverError, match=r"no process named 'wbe'; configured: web, worker. Did you mean 'web'\?"):
        choose(processes, "wbe")


def test_backend_without_a_command_line_says_so() -> None:
    with pytest.raises(ProdserverError, match="has no command line of its own, which --exec and --dry-run need"):
        BaseServerBackend(ARGS={}).command([])
