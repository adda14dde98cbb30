"""Run Django's own tests of tasks against our backend: `python -m tests.conformance.run DIRECTORY`.

The directory holds Django's source distribution; `python3 dev.py conformance` fetches it and throws it away
afterwards. In the tests one thing is changed, the module of the two backends.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

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
RUN = """
import django, sys, unittest
from django.test import SimpleTestCase
django.setup()
# Where a result is unknown, ours looks into the outbox of the default database, too.
SimpleTestCase.databases = {"default"}
from django.core.management import call_command
call_command("migrate", verbosity=0)
different = set(sys.argv[1].split(","))
def flat(suite):
    for test in suite:
        yield from flat(test) if isinstance(test, unittest.TestSuite) else [test]
found = [t for name in sys.argv[2:] for t in flat(unittest.defaultTestLoader.loadTestsFromName(name))]
left_out = [t for t in found if t._testMethodName in different]
print(f"{len(found) - len(left_out)} tests, {len(left_out)} left out")
result = unittest.TextTestRunner(verbosity=0).run(unittest.TestSuite(t for t in found if t not in left_out))
sys.exit(not result.wasSuccessful())
"""


def main(home: Path) -> int:
    for archive in home.glob("*.tar.gz"):
        with tarfile.open(archive) as packed:
            packed.extractall(home, filter="data")
    (source,) = home.glob("[dD]jango-*/tests/tasks")
    adapt(source, home / "tasks")
    names = [f"tasks.{path.stem}" for path in sorted((home / "tasks").glob("test_*.py"))]
    return run(home, names)


def adapt(source: Path, target: Path) -> None:
    """Copy the tests, with our backends in the place of Django's."""
    target.mkdir()
    for path in source.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        for name in ("dummy", "immediate"):
            text = text.replace(f"django.tasks.backends.{name}", "tests.conformance.backends")
        (target / path.name).write_text(text, encoding="utf-8")


def run(home: Path, names: list[str]) -> int:
    here = Path(__file__).resolve().parents[2]
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.conformance.settings",
        "PYTHONPATH": f"{home}{os.pathsep}{here}",
    }
    done = subprocess.run([sys.executable, "-c", RUN, ",".join(DIFFERENT), *names], env=environment, check=False)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
