"""Run other people's tests of Django tasks against our backend: `python -m tests.conformance.run DIRECTORY`.

The directory holds the source distributions of Django and of django-tasks-db; `python3 dev.py conformance` fetches
them and throws them away afterwards. django-tasks publishes no tests; its suite went into Django, and is Django's.
In the tests nothing is changed but the modules that they import the backend from.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
#: Tests that say what a backend of another kind does; each with what ours does instead.
DIFFERENT = {
    "test_cannot_get_result": "results can be read",
    "test_cannot_refresh_result": "results can be read",
    "test_cannot_pass_run_after": "run_after is supported",
    "test_validate_disallowed_async_task": "patches a flag of Django's class by name",
    "test_refresh_result": "changes the dummy's own object in memory",
    "test_refresh_result_async": "changes the dummy's own object in memory",
    "test_doesnt_wait_until_transaction_commit_by_default": "forbids every database, ours may look into an outbox",
}
ITS_TABLE = "reads or writes its table"
ITS_WORDS = "asks for its words; ours say the same in others"
ITS_IDS = "asks for UUIDs of version 4; ours are of version 7, which begin with the time"
ITS_TIMING = "gives a worker one second to start; tests/process/test_django_tasks.py and test_stopping.py wait instead"
#: The same of django-tasks-db: a test, or a class of them.
DIFFERENT_DB = {
    "DatabaseTaskResultTestCase": ITS_TABLE,
    "ConnectionExclusiveTranscationTestCase": ITS_TABLE,
    "DatabaseBackendPruneTaskResultsTestCase": "its command; ours is dramatiq_prune",
    "DBTaskResultOrderingTestCase": ITS_TABLE,
    "AdminTestCase": "its admin class",
    "CompatTestCase": "its module",
    "test_refresh_result": ITS_TABLE,
    "test_refresh_result_async": ITS_TABLE,
    "test_invalid_task_path": ITS_TABLE,
    "test_missing_task_path": ITS_TABLE,
    "test_task_import_string": ITS_TABLE,
    "test_task_name": ITS_TABLE,
    "test_priority_range_check": ITS_TABLE,
    "test_index_scan_for_ready": ITS_TABLE,
    "test_run_after_null_0016_migration": ITS_TABLE,
    "test_run_after": ITS_TABLE,
    "test_run_after_priority": ITS_TABLE,
    "test_worker_with_locked_rows": ITS_TABLE,
    "test_database_backend_app_missing": "it looks for its own app",
    "test_custom_id_function": "an option of its own, OPTIONS['id_function']",
    "test_unknown_id_function": "an option of its own, OPTIONS['id_function']",
    "test_postgres_db_id_function": "an option of its own, OPTIONS['id_function']",
    "test_postgres_id_function_expression": "an option of its own, OPTIONS['id_function']",
    "test_fractional_interval": "patches its worker; ours is woken and takes --interval for compatibility",
    "test_zero_interval": "patches its worker; ours is woken and takes --interval for compatibility",
    "test_incorrect_backend": ITS_WORDS,
    "test_negative_interval": ITS_WORDS,
    "test_infinite_interval": ITS_WORDS,
    "test_negative_max_tasks": ITS_WORDS,
    "test_zero_max_tasks": ITS_WORDS,
    "test_too_long_worker_id": ITS_WORDS,
    "test_empty_worker_id": ITS_WORDS,
    "test_max_tasks": ITS_WORDS,
    "test_verbose_logging": ITS_WORDS,
    "test_multiple_workers": ITS_WORDS,
    "test_enqueue_task": ITS_IDS,
    "test_enqueue_task_async": ITS_IDS,
    "test_complex_return_value": "asks for json's words; ours are those of Django's normalize_json",
    "test_doesnt_process_different_backend": "--backend with a backend that is not ours is refused, not served",
    "test_interrupt_no_tasks": ITS_TIMING,
    "test_interrupt_signals": ITS_TIMING,
    "test_repeat_ctrl_c": ITS_TIMING + "; the second signal hands the task back instead of failing it",
    "test_kill": "asserts that the task of a killed worker stays RUNNING; ours runs it again",
}
RUN = """
import django, importlib, sys, unittest
from django.test import SimpleTestCase
django.setup()
# Where a result is unknown, ours looks into the outbox of the default database, too.
SimpleTestCase.databases = {"default"}
from django.core.management import call_command
call_command("migrate", verbosity=0)
different, adapter, *names = sys.argv[1:]
different = set(different.split(","))
def flat(suite):
    for test in suite:
        yield from flat(test) if isinstance(test, unittest.TestSuite) else [test]
if adapter:
    for name in names:
        importlib.import_module(adapter).adapt(importlib.import_module(name))
found = [t for name in names for t in flat(unittest.defaultTestLoader.loadTestsFromName(name))]
left_out = [t for t in found if {t._testMethodName, type(t).__name__} & different]
print(f"{len(found) - len(left_out)} tests, {len(left_out)} left out", flush=True)
result = unittest.TextTestRunner(verbosity=0).run(unittest.TestSuite(t for t in found if t not in left_out))
sys.exit(not result.wasSuccessful())
"""


def main(home: Path) -> int:
    for archive in home.glob("*.tar.gz"):
        with tarfile.open(archive) as packed:
            packed.extractall(home, filter="data")
    return max(django(home), django_tasks_db(home))


def django(home: Path) -> int:
    """Django's own tests, on the broker in memory."""
    (source,) = home.glob("[dD]jango-*/tests/tasks")
    (home / "tasks").mkdir()
    for path in source.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        for name in ("dummy", "immediate"):
            text = text.replace(f"django.tasks.backends.{name}", "tests.conformance.backends")
        (home / "tasks" / path.name).write_text(text, encoding="utf-8")
    names = [f"tasks.{path.stem}" for path in sorted((home / "tasks").glob("test_*.py"))]
    return run("Django", home, "tests.conformance.settings", DIFFERENT, "", names)


def django_tasks_db(home: Path) -> int:
    """The tests of django-tasks-db, on the database broker with SQLite."""
    (source,) = home.glob("django_tasks_db-*/tests/tests.py")
    text = source.read_text(encoding="utf-8")
    for old, new in (
        (r"\bdjango_tasks_db\.(admin|models|utils|management[\w.]*)", "tests.conformance.peer"),
        (r"\bdjango_tasks_db\b", "tests.conformance.peer"),
        (r"from tests import tasks", "from tests.conformance import tasks"),
        (r"tests\.tasks\.", "tests.conformance.tasks."),
        (r"tests\.db_worker_test_settings", "tests.conformance.settings_db"),
        (r"= subprocess\.Popen\(", "= Patient("),
    ):
        text = re.sub(old, new, text)
    text = f"from tests.conformance.peer import Patient\n{text}"
    (home / "tests_of_django_tasks_db.py").write_text(text, encoding="utf-8")
    (home / "manage.py").write_text("from django.core.management import execute_from_command_line\nimport sys\n"
                                    "execute_from_command_line(sys.argv)\n")  # fmt: skip
    return run("django-tasks-db", home, "tests.conformance.settings_db", DIFFERENT_DB, "tests.conformance.peer",
               ["tests_of_django_tasks_db"])  # fmt: skip


def run(whose: str, home: Path, settings: str, different: dict[str, str], adapter: str, names: list[str]) -> int:
    sys.stdout.write(f"Tests of {whose}:\n")
    sys.stdout.flush()
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": settings,
        "PYTHONPATH": f"{home}{os.pathsep}{HERE}",
        "CONFORMANCE_DATABASE": str(home / "db.sqlite3"),
    }
    command = [sys.executable, "-c", RUN, ",".join(different), adapter, *names]
    return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
