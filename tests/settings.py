"""Settings of the test project: SQLite always, PostgreSQL and MariaDB where they answer."""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import tempfile
import zlib
from importlib.util import find_spec
from pathlib import Path

# A directory of this process alone: several test runs on one machine must not meet.
STATE = Path(tempfile.mkdtemp(prefix="django-cfg-tests-"))
atexit.register(shutil.rmtree, STATE, ignore_errors=True)
CHECKOUT = zlib.crc32(str(Path(__file__).parent).encode())

SECRET_KEY = "only for tests"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django_cfg.apps.tasks",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django_cfg.apps.accounts",
    "django_prodserver",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [Path(__file__).parent / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
MIDDLEWARE = [
    "tests.policy.Policy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
ROOT_URLCONF = "tests.urls"
STATIC_URL = "static/"

SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;",
}
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": STATE / "db.sqlite3",
        "OPTIONS": SQLITE_OPTIONS,
        "TEST": {"NAME": STATE / "test.sqlite3"},
    }
}

POSTGRES_HOST = os.environ.get("TEST_POSTGRES_HOST", "127.0.0.1")
POSTGRES_PORT = int(os.environ.get("TEST_POSTGRES_PORT", "5432"))


def answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


if answers(POSTGRES_HOST, POSTGRES_PORT):
    DATABASES["postgres"] = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": POSTGRES_HOST,
        "PORT": POSTGRES_PORT,
        "USER": os.environ.get("TEST_POSTGRES_USER", "postgres"),
        "PASSWORD": os.environ.get("TEST_POSTGRES_PASSWORD", ""),
        "NAME": "postgres",
        "TEST": {"NAME": f"django_cfg_tasks_tests_{CHECKOUT}"},
    }

MARIADB_HOST = os.environ.get("TEST_MARIADB_HOST", "127.0.0.1")
MARIADB_PORT = int(os.environ.get("TEST_MARIADB_PORT", "3306"))

if find_spec("MySQLdb") and answers(MARIADB_HOST, MARIADB_PORT):
    DATABASES["mysql"] = {
        "ENGINE": "django.db.backends.mysql",
        "HOST": MARIADB_HOST,
        "PORT": MARIADB_PORT,
        "USER": os.environ.get("TEST_MARIADB_USER", "root"),
        "PASSWORD": os.environ.get("TEST_MARIADB_PASSWORD", ""),
        "NAME": "",
        "TEST": {"NAME": f"django_cfg_tasks_tests_{CHECKOUT}"},
    }

REDIS_HOST = os.environ.get("TEST_REDIS_HOST", "127.0.0.1")
REDIS_PORT = int(os.environ.get("TEST_REDIS_PORT", "6379"))
REDIS_URL = f"redis://{REDIS_HOST}:{REDIS_PORT}/9"
REDIS_ANSWERS = answers(REDIS_HOST, REDIS_PORT)
# Several test runs may share one server.
REDIS_PREFIX = f"tests-{CHECKOUT}-{os.getpid()}"

RABBITMQ_HOST = os.environ.get("TEST_RABBITMQ_HOST", "127.0.0.1")
RABBITMQ_PORT = int(os.environ.get("TEST_RABBITMQ_PORT", "5672"))
RABBITMQ_URL = os.environ.get("TEST_RABBITMQ_URL", f"amqp://guest:guest@{RABBITMQ_HOST}:{RABBITMQ_PORT}/")
RABBITMQ_ANSWERS = answers(RABBITMQ_HOST, RABBITMQ_PORT)
RABBITMQ_PREFIX = f"{CHECKOUT:08x}-{os.getpid()}"

DRAMATIQ_BROKER = {"OPTIONS": {"url": "database://default"}}
DJANGO_CFG_TASKS = {"admin_enabled": True}
TASKS = {
    "default": {"BACKEND": "django_cfg.tasks.backends.EngineBackend", "QUEUES": [], "OPTIONS": {"max_attempts": 1}},
    "anywhere": {"BACKEND": "django_cfg.tasks.backends.EngineBackend", "QUEUES": []},
    "retrying": {"BACKEND": "django_cfg.tasks.backends.EngineBackend", "OPTIONS": {"max_attempts": 3}},
}
