"""`prodserver --all`: order, output, restarts, stop and one exit code, with real processes."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from django_cfg.testing.waiting import eventually
from tests.installed import needs
from tests.process.prodserver_site import Site, free_port, get, stop, wait_for_line, wait_until_it_answers

pytestmark = [pytest.mark.process, pytest.mark.servers]
PREFIX = "django_prodserver.backends."
COMMANDS = """
import sys, time
from django.core.management.base import BaseCommand
from django_prodserver.backends.base import CommandBackend

class Command(BaseCommand):
    def add_arguments(self, parser):
        parser.add_argument("--code", type=int, default=0)

    def handle(self, **options):
        print("speaking", flush=True)
        sys.exit(options["code"])
"""
BACKEND = """
from django_prodserver.backends.base import CommandBackend

class Speaker(CommandBackend):
    name = "speak"
"""


def web(port: int) -> dict[str, Any]:
    needs("gunicorn")
    return {"BACKEND": PREFIX + "gunicorn.GunicornServer", "ARGS": {"bind": f"127.0.0.1:{port}"}}


def speaker(**more: Any) -> dict[str, Any]:
    return {"BACKEND": "work.speaker.Speaker", **more}


def project(directory: Path, processes: dict[str, Any]) -> Site:
    site = Site(directory / "site", processes)
    commands = site.directory / "work" / "management" / "commands"
    commands.mkdir(parents=True)
    (commands / "speak.py").write_text(COMMANDS)
    (site.directory / "work" / "speaker.py").write_text(BACKEND)
    return site


def stack(directory: Path, port: int) -> Site:
    """A server and a worker, with their tables."""
    args = {"processes": "1", "threads": "2"}
    worker = {"BACKEND": PREFIX + "dramatiq.DramatiqWorker", "ARGS": args}
    site = project(directory, {"web": web(port), "worker": worker})
    assert site.run("migrate", "-v0") == (0, "")
    return site


def pid_of(lines: list[str], name: str) -> int:
    found = [match for line in lines if (match := re.match(rf"{name} *\| started, pid (\d+)", line))]
    return int(found[-1][1])


def test_whole_stack_serves_runs_a_task_replaces_the_dead_and_stops(tmp_path: Path) -> None:
    port = free_port()
    site = stack(tmp_path, port)
    note = tmp_path / "note"
    site.run("shell", "-c", f"from work.tasks import leave_note; leave_note.send({str(note)!r})")

    with site.running("prodserver", "--all", "--wait-for", "db") as process:
        wait_until_it_answers(port, process)
        eventually(note.exists, within_s=20)
        first = wait_for_line(process, r"worker \| .*rundramatiq: 1 processes")
        assert next(i for i, line in enumerate(first) if "Starting gunicorn" in line) < next(
            i for i, line in enumerate(first) if line.startswith("worker | started")
        )

        os.kill(pid_of(first, "web"), signal.SIGKILL)
        second = wait_for_line(process, r"^web    \| started")
        assert "web    | killed by SIGKILL" in second
        assert pid_of(second, "web") != pid_of(first, "web")
        eventually(lambda: get(port) == "hello", within_s=20)

        code, output = stop(process)
        assert code == 0, output
        assert "SIGTERM received; stopping everything" in output
        assert "web    | ended with code 0" in output and "worker | ended with code 0" in output
        eventually(site.has_nothing_left, within_s=5)


def test_work_that_is_done_ends_with_0(tmp_path: Path) -> None:
    site = project(tmp_path, {"one": speaker(RESTART="on-failure"), "two": speaker(RESTART="never")})
    code, output = site.run("prodserver", "--all", "--skip-checks")
    assert code == 0, output
    assert "one | speaking" in output and "two | ended with code 0" in output


def test_process_that_cannot_be_kept_stops_all_with_its_code(tmp_path: Path) -> None:
    site = project(tmp_path, {"web": web(free_port()), "odd": speaker(ARGS={"code": 7}, RESTART="never")})
    code, output = site.run("prodserver", "--all", "--skip-checks")
    assert code == 7, output
    assert "odd cannot be kept running; stopping everything" in output
    assert "web | ended with code 0" in output
    eventually(site.has_nothing_left, within_s=5)


def test_wrong_entry_is_found_before_anything_starts(tmp_path: Path) -> None:
    odd = {"BACKEND": PREFIX + "dramatiq.DramatiqWorker", "ARGS": {"proceses": 1}}
    code, output = project(tmp_path, {"one": speaker(), "odd": odd}).run("prodserver", "--all")
    assert code == 2 and "odd: ARGS: unknown option 'proceses'" in output and "speaking" not in output


def test_nothing_outlives_a_manager_that_is_killed(tmp_path: Path) -> None:
    port = free_port()
    site = stack(tmp_path, port)
    with site.running("prodserver", "--all", "--skip-checks") as process:
        wait_until_it_answers(port, process)
        wait_for_line(process, r"worker \| .*rundramatiq: 1 processes")
        process.kill()
        process.wait(timeout=10)
        eventually(site.has_nothing_left, within_s=20)
