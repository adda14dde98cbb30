"""`manage.py check` on a project whose servers do not exist."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

SETTINGS = """
    SECRET_KEY = "x"
    INSTALLED_APPS = ["django_cfg.apps.tasks"]
    DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "HOST": "127.0.0.1", "PORT": 1, "NAME": "x"}}
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache",
                          "LOCATION": "redis://127.0.0.1:1/0"}}
"""


def test_a_plain_check_connects_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "alone.py").write_text(textwrap.dedent(SETTINGS))
    command = [sys.executable, "-W", "error", "-m", "django", "check", "--settings", "alone", "--pythonpath", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no issues" in done.stdout
