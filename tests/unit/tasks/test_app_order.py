"""The order of INSTALLED_APPS decides whether tasks find their broker; a wrong one says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
from django.conf import settings
settings.configure(INSTALLED_APPS={apps!r}, DATABASES={{}}, SECRET_KEY="x")
import django
django.setup()
import dramatiq
print(type(dramatiq.get_broker()).__name__, *dramatiq.get_broker().actors)
"""


def setup(path: Path, *apps: str) -> subprocess.CompletedProcess[str]:
    (path / "early").mkdir(exist_ok=True)
    (path / "early" / "__init__.py").touch()
    (path / "early" / "models.py").write_text("import early.tasks")
    (path / "early" / "tasks.py").write_text("import dramatiq\n@dramatiq.actor\ndef work(): pass")
    code = CODE.format(apps=list(apps))
    return subprocess.run([sys.executable, "-c", code], cwd=path, capture_output=True, text=True, check=False)


def test_tasks_that_models_import_bind_to_the_broker_of_the_app_above(tmp_path: Path) -> None:
    done = setup(tmp_path, "django_cfg.apps.tasks", "early")
    assert done.stdout.split() == ["DatabaseBroker", "work"], done.stderr


def test_an_app_above_the_tasks_app_whose_models_import_tasks_is_refused_with_the_cure(tmp_path: Path) -> None:
    done = setup(tmp_path, "early", "django_cfg.apps.tasks")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "ImproperlyConfigured: A task was declared before its broker exists: put 'django_cfg.apps.tasks'" in last
