"""A throwaway Django project for one benchmark run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

MANAGE = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "bench_settings"
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""

SETTINGS = """
import json, os
SECRET_KEY = "benchmark"
USE_TZ = True
INSTALLED_APPS = ["django_cfg.apps.tasks", "bench_app"]
DATABASES = json.loads(os.environ["BENCH_DATABASES"])
DRAMATIQ_BROKER = {"OPTIONS": {"url": os.environ["BENCH_BROKER"]}}
DJANGO_CFG_TASKS = {"redis_key_prefix": os.environ["BENCH_PREFIX"]}
LOGGING_CONFIG = None
"""

#: Each run of a task writes its start into its own slot of a shared file: no I/O, and lost or repeated runs show.
TASKS = """
import mmap, os, struct, time
import dramatiq

SLOT = struct.Struct("dI")
_file = open(os.environ["BENCH_SLOTS"], "r+b")
_slots = mmap.mmap(_file.fileno(), 0)


@dramatiq.actor
def note(number):
    _, runs = SLOT.unpack_from(_slots, number * SLOT.size)
    SLOT.pack_into(_slots, number * SLOT.size, time.monotonic(), runs + 1)
"""

ENQUEUE = """
import json, time
from bench_app.tasks import note
import dramatiq
began = time.perf_counter()
for number in range({single}):
    note.send(number)
single = {single} / (time.perf_counter() - began)
messages = [note.message(number) for number in range({single}, {total})]
began = time.perf_counter()
dramatiq.get_broker().enqueue_many(messages)
bulk = len(messages) / (time.perf_counter() - began)
print(json.dumps([single, bulk]))
"""


class Project:
    """Files of a project below `home` and the commands to use it."""

    enqueue = ENQUEUE

    def __init__(self, home: Path, databases: dict[str, object], broker: str, prefix: str) -> None:
        self.home = home
        self.slots = home / "slots"
        self.environment = {
            **os.environ,
            "BENCH_DATABASES": json.dumps(databases),
            "BENCH_BROKER": broker,
            "BENCH_PREFIX": prefix,
            "BENCH_SLOTS": str(self.slots),
            "DJANGO_SETTINGS_MODULE": "bench_settings",
            "PYTHONPATH": str(home),
            "DJANGO_LOG_LEVEL": "error",
        }
        (home / "bench_app").mkdir()
        (home / "manage.py").write_text(MANAGE)
        (home / "bench_settings.py").write_text(SETTINGS)
        (home / "bench_app" / "__init__.py").touch()
        (home / "bench_app" / "tasks.py").write_text(TASKS)

    def prepare(self) -> None:
        self.manage("migrate", "-v0")

    def clean(self) -> None:
        """Leave nothing in the broker."""
        self.python("import dramatiq; dramatiq.get_broker().flush_all()")

    def manage(self, *words: str) -> None:
        subprocess.run([sys.executable, "manage.py", *words], cwd=self.home, env=self.environment, check=True)

    def workers(self, processes: int, threads: int) -> subprocess.Popen[bytes]:
        words = ["manage.py", "rundramatiq", "-p", str(processes), "-t", str(threads), "--log-level", "error"]
        return subprocess.Popen(
            [sys.executable, *words], cwd=self.home, env=self.environment, stdout=subprocess.DEVNULL
        )

    def python(self, code: str) -> str:
        """What a script of the project prints."""
        command = [sys.executable, "-c", "import django; django.setup()\n" + code]
        done = subprocess.run(command, cwd=self.home, env=self.environment, check=True, capture_output=True, text=True)
        return done.stdout
