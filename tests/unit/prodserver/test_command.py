"""The command: what it prints and how it ends, without starting anything."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from tests.installed import needs

PREFIX = "django_prodserver.backends."


@pytest.fixture(autouse=True)
def processes(settings: Any) -> None:
    needs("gunicorn")
    settings.PRODUCTION_PROCESSES = {
        "web": {"BACKEND": PREFIX + "gunicorn.GunicornServer", "ARGS": {"bind": "127.0.0.1:8000"}},
        "worker": {"BACKEND": PREFIX + "dramatiq.DramatiqWorker"},
        "odd": {"BACKEND": PREFIX + "gunicorn.GunicornServer", "ARGS": {"wrkers": 2}},
    }


def output(*words: str, **options: Any) -> str:
    written = io.StringIO()
    call_command("prodserver", *words, stdout=written, **options)
    return written.getvalue()


def refusal(*words: str, **options: Any) -> CommandError:
    with pytest.raises(CommandError) as caught:
        output(*words, **options)
    return caught.value


def test_without_a_name_nothing_starts_and_the_choices_are_shown() -> None:
    error = refusal()
    assert error.returncode == 2
    assert str(error) == "which process? prodserver NAME, with one of: web, worker, odd; or --all"


def test_unknown_name_is_refused() -> None:
    error = refusal("wrker")
    assert error.returncode == 2 and "Did you mean 'worker'?" in str(error)


def test_table_shows_every_process_also_one_that_cannot_start() -> None:
    heading, web, worker, odd = output("--list").splitlines()
    assert heading.split() == ["NAME", "BACKEND", "STATUS", "ARGUMENTS"]
    assert web.split() == ["web", "gunicorn.GunicornServer", "ready", "--bind=127.0.0.1:8000"]
    assert worker.split() == ["worker", "dramatiq.DramatiqWorker", "ready"]
    assert "cannot start  ARGS: unknown option 'wrkers'; did you mean 'workers'?" in odd


def test_json_is_one_document() -> None:
    assert output("--json") == output("--list", "--json")
    document = json.loads(output("--json"))
    web, worker, odd = document["processes"]
    assert document["schema"] == 1
    assert (web["listens"], web["argv"], web["problem"]) == (["127.0.0.1:8000"], ["--bind=127.0.0.1:8000"], None)
    assert worker["stop_timeout_s"] == 38 and "unknown option" in odd["problem"]


def test_dry_run_shows_the_command_line() -> None:
    line = output("web", "--dry-run", overrides=["--workers", "2"]).strip()
    assert line.endswith("-m gunicorn --bind=127.0.0.1:8000 --workers 2 django_prodserver.wsgi:application")


def test_all_takes_no_name() -> None:
    assert "--all takes no NAME" in str(refusal("web", "--all"))


def test_files_are_written_where_they_are_wanted(tmp_path: Path) -> None:
    call_command("prodserver", "web", "--emit", "systemd", "--output", str(tmp_path / "units"), stderr=io.StringIO())
    [unit] = (tmp_path / "units").iterdir()
    assert unit.suffix == ".service" and "prodserver web" in unit.read_text()


def test_wait_that_fails_starts_nothing() -> None:
    assert refusal("web", "--wait-for", "cache").returncode == 2


@pytest.mark.django_db(databases="__all__")
def test_failed_check_refuses_the_start(settings: Any) -> None:
    settings.DEBUG, settings.ALLOWED_HOSTS = False, []
    error = refusal("web", skip_checks=False)
    assert error.returncode == 1
    assert "prodserver.E002" in str(error) and "--skip-checks starts it all the same." in str(error)


def test_devserver_has_the_options_of_runserver() -> None:
    from django.core.management import load_command_class

    parser = load_command_class("django_prodserver", "devserver").create_parser("manage.py", "devserver")
    options = vars(parser.parse_args(["127.0.0.1:8001", "--noreload", "--nothreading"]))
    assert (options["addrport"], options["use_reloader"], options["use_threading"]) == ("127.0.0.1:8001", False, False)
