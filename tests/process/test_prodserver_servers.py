"""Each server is started by `prodserver`, answers a request and ends by SIGTERM with nothing left running."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from django_cfg.testing.waiting import eventually
from tests.installed import needs
from tests.process.prodserver_site import Site, free_port, get, stop, wait_until_it_answers

pytestmark = [pytest.mark.process, pytest.mark.servers]
PREFIX = "django_prodserver.backends."

SERVERS: list[tuple[str, str, dict[str, Any], set[int]]] = [
    ("gunicorn", "gunicorn.GunicornServer", {"bind": "127.0.0.1:PORT", "workers": "2", "keep_alive": 1}, {0}),
    ("uvicorn", "servers.uvicorn.UvicornServer", {"port": "PORT", "proxy_headers": False}, {0, -15, 143}),
    ("uvicorn", "uvicorn.UvicornServer", {"port": "PORT", "workers": 2}, {0}),
    ("uvicorn", "uvicorn.UvicornWSGIServer", {"port": "PORT", "access_log": "false"}, {0, -15, 143}),
    # Its workers sometimes do not hear of the end while they start; then the server ends them after this time.
    ("granian", "granian.GranianASGIServer", {"port": "PORT", "access-log": True, "workers-kill-timeout": 3}, {0}),
    ("granian", "granian.GranianWSGIServer", {"port": "PORT", "workers": "2", "workers-kill-timeout": 3}, {0}),
    ("waitress", "waitress.WaitressServer", {"listen": ["127.0.0.1:PORT"], "ipv6": False}, {0, -15, 143}),
    ("hypercorn", "hypercorn.HypercornServer", {"bind": ["127.0.0.1:PORT"], "debug": None}, {0}),
    ("daphne", "daphne.DaphneServer", {"port": "PORT", "bind": "127.0.0.1"}, {0}),
]


def with_port(value: Any, port: int) -> Any:
    if isinstance(value, list):
        return [with_port(item, port) for item in value]
    return value.replace("PORT", str(port)) if isinstance(value, str) else value


@pytest.mark.parametrize(("package", "backend", "args", "codes"), SERVERS)
def test_server_answers_and_ends_when_it_is_told(
    tmp_path: Path, package: str, backend: str, args: dict[str, Any], codes: set[int]
) -> None:
    needs(package)
    port = free_port()
    written = {name: with_port(value, port) for name, value in args.items()}
    site = Site(tmp_path / "site", {"web": {"BACKEND": PREFIX + backend, "ARGS": written}})

    with site.running("prodserver", "web", "--skip-checks") as process:
        wait_until_it_answers(port, process)
        code, output = stop(process)

        assert code in codes, output
        assert f"Starting web with {backend.rpartition('.')[2]}, pid {process.pid}." in output
        assert "Traceback" not in output
        eventually(site.has_nothing_left, within_s=5)


def gunicorn(directory: Path, port: int, **more: Any) -> Site:
    needs("gunicorn")
    args = {"bind": f"127.0.0.1:{port}", **more}
    return Site(directory / "site", {"web": {"BACKEND": PREFIX + "gunicorn.GunicornServer", "ARGS": args}})


@pytest.mark.parametrize("words", [(), ("--exec",)], ids=["here", "fresh"])
def test_request_in_flight_is_answered_before_the_end(tmp_path: Path, words: tuple[str, ...]) -> None:
    port = free_port()
    site = gunicorn(tmp_path, port)
    answers: list[str | None] = []

    with site.running("prodserver", "web", "--skip-checks", *words, "--", "--threads", "2") as process:
        wait_until_it_answers(port, process)
        client = threading.Thread(target=lambda: answers.append(get(port, "/slow")))
        client.start()
        eventually((site.directory / "slow-began").exists, within_s=10)
        code, output = stop(process)
        client.join()

    assert (code, answers) == (0, ["slow"]), output
    assert "Using worker: gthread" in output  # what followed -- reached the server


def test_server_s_own_exit_code_is_the_command_s(tmp_path: Path) -> None:
    port = free_port()
    site = gunicorn(tmp_path, port)
    code, output = site.run("prodserver", "web", "--skip-checks", "--", "--worker-class", "no.such.Worker")
    assert code == 1 and "no.such.Worker" in output


def test_gunicorn_replaces_itself_on_usr2(tmp_path: Path) -> None:
    port = free_port()
    site = gunicorn(tmp_path, port, pid=str(tmp_path / "pid"))
    with site.running("prodserver", "web", "--skip-checks") as process:
        wait_until_it_answers(port, process)
        process.send_signal(signal.SIGUSR2)
        eventually(lambda: Path(f"{tmp_path / 'pid'}.2").exists(), within_s=20)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
        eventually(lambda: get(port) == "hello", within_s=10)  # from its successor


def test_unapplied_migrations_are_said_and_checks_stop_a_wrong_project(tmp_path: Path) -> None:
    site = gunicorn(tmp_path, free_port())
    site.add_settings("ALLOWED_HOSTS = []")
    code, output = site.run("prodserver", "web")
    assert code == 1, output
    assert "1 migration not applied to 'default'" in output and "prodserver.E002" in output
    assert "Traceback" not in output


def test_uvicorn_s_workers_are_forks_that_end_by_themselves(tmp_path: Path) -> None:
    needs("uvicorn")
    port = free_port()
    entry = {"BACKEND": PREFIX + "uvicorn.UvicornServer", "ARGS": {"port": port, "workers": 2}}
    site = Site(tmp_path / "site", {"web": entry})

    with site.running("prodserver", "web", "--skip-checks") as process:
        wait_until_it_answers(port, process)
        workers = [pid for pid in site.left_over() if pid != process.pid]
        command = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in workers] == [command] * 2
        code, output = stop(process)

    assert code == 0, output
    assert output.count("Finished server process") == 2


def test_devserver_answers(tmp_path: Path) -> None:
    port = free_port()
    site = Site(tmp_path / "site", {})
    with site.running("devserver", str(port), "--skip-checks") as process:
        wait_until_it_answers(port, process)
        assert stop(process)[0] in {0, -15, 143}
        eventually(site.has_nothing_left, within_s=10)
