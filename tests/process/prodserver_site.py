"""A small project in a directory of its own, and its processes: started, asked and stopped for real."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django_cfg.testing.waiting import eventually

MANAGE = """
import os, sys
from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
    execute_from_command_line(sys.argv)
"""
SETTINGS = """
from pathlib import Path

SECRET_KEY = "s" * 60
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = ["django_cfg.apps.tasks", "django_prodserver", "work"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": Path(__file__).parent / "db.sqlite3",
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;",
        },
    }
}
ROOT_URLCONF = "site_urls"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""
URLS = """
import os, time
from django.http import HttpResponse
from django.urls import path

def slow(request):
    open("slow-began", "w").close()
    time.sleep(1)
    return HttpResponse("slow")

urlpatterns = [path("", lambda request: HttpResponse("hello")), path("slow", slow)]
"""
TASKS = """
from pathlib import Path
import dramatiq

@dramatiq.actor
def leave_note(name):
    Path(name).write_text("done")
"""


LIMIT_S = 60.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


class Site:
    """The project: `processes` becomes its PRODUCTION_PROCESSES."""

    def __init__(self, directory: Path, processes: dict[str, Any]) -> None:
        self.directory = directory
        (directory / "work").mkdir(parents=True)
        texts = {"manage.py": MANAGE, "site_urls.py": URLS, "work/__init__.py": "", "work/tasks.py": TASKS}
        for name, text in texts.items():
            (directory / name).write_text(text)
        self.set_processes(processes)

    def add_settings(self, text: str) -> None:
        with (self.directory / "site_settings.py").open("a") as settings:
            settings.write(f"\n{text}\n")

    def set_processes(self, processes: dict[str, Any]) -> None:
        text = f"{SETTINGS}\nPRODUCTION_PROCESSES = {processes!r}\n"
        (self.directory / "site_settings.py").write_text(text)

    def start(self, *words: str) -> subprocess.Popen[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO_")}
        return subprocess.Popen(
            [sys.executable, "manage.py", *words],
            cwd=self.directory,
            env={**clean, "PYTHONUNBUFFERED": "1", "PRODSERVER_TEST": str(self.directory)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *words: str) -> tuple[int, str]:
        process = self.start(*words)
        output, _ = process.communicate(timeout=60)
        return process.returncode, output

    @contextmanager
    def running(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """The process while the block runs; killed with all that it started, should a test fail."""
        process = self.start(*words)
        # Ends the reading of an output that never says what is waited for.
        limit = threading.Timer(LIMIT_S, process.kill)
        limit.start()
        try:
            yield process
        finally:
            limit.cancel()
            if process.poll() is None:
                process.kill()
            for pid in self.left_over():
                os.kill(pid, signal.SIGKILL)
            if process.stdout is not None:
                process.stdout.close()

    def left_over(self) -> list[int]:
        """Processes that carry this project in their environment."""
        wanted = f"PRODSERVER_TEST={self.directory}".encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if wanted in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
            except OSError:
                continue  # it ended meanwhile, or is not ours
        return found

    def has_nothing_left(self) -> bool:
        return not self.left_over()


def get(port: int, path: str = "/") -> str | None:
    """The body of the answer; None as long as there is none."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return str(answer.read().decode())
    except OSError:
        return None


def wait_until_it_answers(port: int, process: subprocess.Popen[str]) -> None:
    eventually(lambda: process.poll() is not None or get(port) == "hello", within_s=30)
    assert process.poll() is None, process.communicate()[0]


def wait_for_line(process: subprocess.Popen[str], pattern: str) -> list[str]:
    """Lines up to the first that matches."""
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line.rstrip())
        if re.search(pattern, line):
            return lines
    raise AssertionError("\n".join(["the process ended first:", *lines]))


def catches(process: subprocess.Popen[str], number: signal.Signals) -> bool:
    """Whether it has its own handler for the signal by now."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    [mask] = re.findall(r"^SigCgt:\s*([0-9a-f]+)", status, re.MULTILINE)
    return bool(int(mask, 16) >> (number - 1) & 1)


def stop(process: subprocess.Popen[str], within_s: float = 30) -> tuple[int, str]:
    """SIGTERM to this one process; its exit code and what it had said."""
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=within_s)
    return process.returncode, output
