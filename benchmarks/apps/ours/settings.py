"""Our own engine in a Django project: default middleware, leases and delivery counters on."""

from __future__ import annotations

import json
import os

SECRET_KEY = "benchmark"
USE_TZ = True
INSTALLED_APPS = ["django_cfg.apps.tasks", "benchmarks.apps.ours"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": json.loads(os.environ["BENCH_DATABASE"])}
DRAMATIQ_BROKER = {"OPTIONS": {"url": os.environ["BENCH_URL"]}}
DJANGO_CFG_TASKS = json.loads(os.environ.get("BENCH_OPTIONS", "{}"))
#: Spread over the hour; too many for an environment variable.
DRAMATIQ_CRON_JOBS = [
    {"actor_name": "note", "cron": f"{i % 60} * * * *", "name": f"s{i}", "args": [i]}
    for i in range(int(os.environ.get("BENCH_SCHEDULES", "0")))
]
LOGGING_CONFIG = None
