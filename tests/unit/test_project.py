from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from django_cfg.models.cache import CacheConfig
from django_cfg.models.database import DatabaseConfig
from django_cfg.models.email import EmailConfig
from django_cfg.models.process import ProcessConfig
from django_cfg.models.tasks import DramatiqConfig, TaskConfig
from django_cfg.models.telegram import TelegramConfig
from django_cfg.project import DjangoConfig, django_version
from tests.unit.refusal import refusal, refusals


@pytest.fixture(autouse=True)
def _no_log_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DJANGO_LOG_LEVEL", raising=False)


def test_a_project_without_a_single_field_has_complete_settings() -> None:
    settings = DjangoConfig().get_all_settings()

    assert settings["DEBUG"] is True
    assert settings["SECRET_KEY"].startswith("django-insecure-")
    assert settings["DATABASES"]["default"]["ENGINE"] == "django.db.backends.sqlite3"
    assert settings["CACHES"]["default"]["BACKEND"].endswith("LocMemCache")
    assert not {"DRAMATIQ_BROKER", "TELEGRAM", "PRODUCTION_PROCESSES", "ROOT_URLCONF"} & settings.keys()


def test_a_cache_and_tasks_are_a_working_pair() -> None:
    class Shop(DjangoConfig):
        project_name: str = "Shop"
        cache_default: CacheConfig = CacheConfig(redis_url="redis://localhost:6379/0")
        tasks: TaskConfig = TaskConfig()

    settings = Shop().get_all_settings()

    assert settings["DRAMATIQ_BROKER"]["OPTIONS"]["url"] == "redis://localhost:6379/2"
    assert settings["CACHES"]["default"]["LOCATION"] == "redis://localhost:6379/0"
    assert settings["INSTALLED_APPS"][0] == "django_cfg.apps.tasks"


def test_a_broker_url_alone_asks_for_tasks() -> None:
    class Shop(DjangoConfig):
        dramatiq_broker_url: str = "redis://localhost:6379/0"

    settings = Shop().get_all_settings()

    assert settings["DRAMATIQ_BROKER"]["OPTIONS"]["url"] == "redis://localhost:6379/0"
    assert settings["INSTALLED_APPS"][0] == "django_cfg.apps.tasks"


def test_the_other_spelling_keeps_everything_else_about_tasks() -> None:
    config = DjangoConfig(dramatiq_broker_url="stub://", tasks=TaskConfig(dramatiq=DramatiqConfig(middleware=["a.B"])))

    settings = config.get_all_settings()

    assert settings["DRAMATIQ_BROKER"] == {"OPTIONS": {"url": "stub://"}, "MIDDLEWARE": ["a.B"]}
    assert settings["DJANGO_CFG_TASKS"]["middleware_is_default"] is False


def test_without_redis_tasks_wait_in_the_database() -> None:
    settings = DjangoConfig(tasks=TaskConfig(), cache_default=CacheConfig()).get_all_settings()

    assert settings["DRAMATIQ_BROKER"]["OPTIONS"]["url"] == "database://default"


def test_one_broker_spelled_twice_alike_is_no_problem() -> None:
    config = DjangoConfig(dramatiq_broker_url="redis://h/1", tasks=TaskConfig(broker_url="redis://h/1"))

    assert config.get_all_settings()["DRAMATIQ_BROKER"]["OPTIONS"]["url"] == "redis://h/1"


def test_debug_is_on_by_itself_only_while_no_host_is_named() -> None:
    hosts, key = ["shop.example"], SecretStr("k" * 50)

    assert DjangoConfig(allowed_hosts=hosts, secret_key=key).get_all_settings()["DEBUG"] is False
    assert DjangoConfig(allowed_hosts=hosts, secret_key=key, debug=True).get_all_settings()["DEBUG"] is True
    assert "secret_key is empty and debug is off" in refusal(lambda: DjangoConfig(allowed_hosts=hosts))


def test_an_override_may_be_annotated_more_loosely_and_is_read_all_the_same() -> None:
    class Shop(DjangoConfig):
        secret_key: str = "k" * 50
        debug: Any = "no"
        processes: dict[str, Any] = {"web": {"BACKEND": "a.b.Server", "ARGS": {"bind": ":8000"}}}  # type: ignore[assignment]

    settings = Shop().get_all_settings()

    assert settings["SECRET_KEY"] == "k" * 50
    assert settings["DEBUG"] is False
    assert settings["PRODUCTION_PROCESSES"] == {"web": {"BACKEND": "a.b.Server", "ARGS": {"bind": ":8000"}}}


def test_every_part_reaches_the_settings() -> None:
    config = DjangoConfig(
        root_urlconf="api.urls",
        installed_apps=["shop"],
        middleware=["shop.M"],
        databases={"default": DatabaseConfig(engine="postgresql", name="shop")},
        email=EmailConfig(backend="console", default_from_email="shop@example.org"),
        telegram=TelegramConfig(bot_token=SecretStr("1:a"), chat_id="@ops"),
        processes={"worker": ProcessConfig(BACKEND="a.Worker", APP="shop")},
        extra_settings={"WSGI_APPLICATION": "api.wsgi.application", "USE_TZ": False},
    )

    settings = config.get_all_settings()

    assert settings["ROOT_URLCONF"] == "api.urls"
    assert settings["INSTALLED_APPS"][-1] == "shop"
    assert settings["MIDDLEWARE"][-1] == "shop.M"
    assert settings["DATABASES"]["default"]["NAME"] == "shop"
    assert settings["DEFAULT_FROM_EMAIL"] == "shop@example.org"
    assert settings["TELEGRAM"]["chat_id"] == "@ops"
    assert settings["PRODUCTION_PROCESSES"]["worker"] == {"BACKEND": "a.Worker", "ARGS": {}, "APP": "shop"}
    assert settings["WSGI_APPLICATION"] == "api.wsgi.application"
    assert settings["USE_TZ"] is False


def test_mail_of_ones_own_in_extra_settings_replaces_ours() -> None:
    mailers = {"default": {"BACKEND": "a.B"}}
    settings = DjangoConfig(extra_settings={"MAILERS": mailers}).get_all_settings()

    assert settings["MAILERS"] == mailers
    assert "EMAIL_BACKEND" not in settings


def test_files_are_found_beside_manage_py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "manage.py").touch()
    module = type(sys)("shop_config")
    module.__file__ = str(tmp_path / "api" / "config.py")
    monkeypatch.setitem(sys.modules, "shop_config", module)
    Shop = type("Shop", (DjangoConfig,), {"__module__": "shop_config"})

    settings = Shop().get_all_settings()

    assert settings["BASE_DIR"] == tmp_path
    assert settings["DATABASES"]["default"]["NAME"] == str(tmp_path / "db.sqlite3")


def test_a_written_base_directory_wins(tmp_path: Path) -> None:
    settings = DjangoConfig(extra_settings={"BASE_DIR": tmp_path}).get_all_settings()

    assert settings["DATABASES"]["default"]["NAME"] == str(tmp_path / "db.sqlite3")


@pytest.mark.parametrize("written", ["debug", "DEBUG"])
def test_the_log_level_comes_from_the_environment(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_LOG_LEVEL", written)

    assert DjangoConfig().get_all_settings()["LOGGING"]["root"]["level"] == "DEBUG"


def test_a_wrong_log_level_is_told_with_the_other_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_LOG_LEVEL", "loud")

    found = refusals(lambda: DjangoConfig(debug=False))

    assert found.keys() == {"DJANGO_LOG_LEVEL", "secret_key"}
    assert found["DJANGO_LOG_LEVEL"] == (
        "DJANGO_LOG_LEVEL must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL, "
        "got 'loud' (from variable DJANGO_LOG_LEVEL)"
    )


def test_two_brokers_are_refused_and_their_passwords_hidden() -> None:
    message = refusals(
        lambda: DjangoConfig(
            dramatiq_broker_url="redis://:hunter2@a/0", tasks=TaskConfig(broker_url="redis://:hunter3@b/0")
        )
    )["dramatiq_broker_url"]

    assert message == (
        "dramatiq_broker_url 'redis://:***@a/0' and tasks.broker_url 'redis://:***@b/0' name two brokers "
        "(from DjangoConfig in code); keep one of them; they are two spellings of one setting"
    )


@pytest.mark.parametrize(
    ("values", "field", "said"),
    [
        (
            {"dramatiq_broker_url": "localhost:6379"},
            "dramatiq_broker_url",
            "did you mean 'redis://localhost:6379/0'?",
        ),
        ({"dbug": True}, "dbug", "unknown key 'dbug' (from DjangoConfig in code); did you mean 'debug'?"),
        ({"databases": {"other": {}}}, "databases", "databases has no 'default', which Django needs"),
        (
            {"databases": {"default": {}}, "dramatiq_broker_url": "database://jobs"},
            "tasks.broker_url",
            "names no database of the project (from DjangoConfig in code); known: default",
        ),
        (
            {"databases": {"default": {}}, "tasks": {"result_backend": "database://x"}},
            "tasks.result_backend",
            "result_backend 'database://x' names no database",
        ),
        (
            {"extra_settings": {"use_tz": True}},
            "extra_settings.use_tz.[key]",
            "names are upper case, like 'USE_TZ'",
        ),
        (
            {"extra_settings": {"DEBUG": True}, "debug": False, "secret_key": "x"},
            "extra_settings.DEBUG",
            "DEBUG is set twice, by debug and by extra_settings",
        ),
        ({"processes": {"web": {}}}, "processes.web.BACKEND", "BACKEND is required"),
        ({"installed_apps": ["a", "a"]}, "installed_apps", "installed_apps names 'a' more than once"),
        ({"middleware": ["a b"]}, "middleware.0", "'a b' is not the dotted name of a middleware"),
        ({"secret_key": 3}, "secret_key", "secret_key must be text"),
        ({"project_name": ""}, "project_name", "at least 1 character"),
    ],
)
def test_a_wrong_project_is_refused_with_field_source_and_cure(values: dict[str, Any], field: str, said: str) -> None:
    found = refusals(lambda: DjangoConfig.model_validate(values))

    assert found.keys() == {field}
    assert said in found[field]


def test_a_field_that_does_not_exist_is_refused_in_a_subclass_too() -> None:
    class Shop(DjangoConfig):
        task: TaskConfig = TaskConfig()

    assert "unknown field 'task' (from Shop in code); did you mean 'tasks'?" in refusal(Shop)


def test_an_override_of_another_type_is_refused_when_the_config_is_made() -> None:
    class Shop(DjangoConfig):
        allowed_hosts: str = "shop.example"  # type: ignore[assignment]

    assert "allowed_hosts must be a valid list, got 'shop.example' (from Shop in code)" in refusal(Shop)


def test_all_problems_of_a_project_are_told_at_once() -> None:
    class Shop(DjangoConfig):
        debug: bool = False
        task: int = 1
        databases: dict[str, DatabaseConfig] = {"other": DatabaseConfig()}
        tasks: TaskConfig = TaskConfig(broker_url="database://jobs")
        dramatiq_broker_url: str = "redis://h/0"

    found = refusals(lambda: Shop.model_validate({"processes": {"web": {}}, "alowed_hosts": []}))

    assert found.keys() == {
        "processes.web.BACKEND",
        "alowed_hosts",
        "task",
        "secret_key",
        "dramatiq_broker_url",
        "databases",
    }


def test_no_secret_is_in_the_representation_of_a_project() -> None:
    shown = repr(DjangoConfig(secret_key="hunter2", dramatiq_broker_url="redis://:hunter2@h/0"))

    assert "hunter2" not in shown


def test_the_version_of_django_is_read_without_importing_it() -> None:
    assert django_version() >= (5, 2)


SETTINGS = """
from django_cfg import CacheConfig, DjangoConfig, EmailConfig, TelegramConfig

class Shop(DjangoConfig):
    root_urlconf: str = "urls"
    email: EmailConfig = EmailConfig(backend="memory", default_from_email="shop@example.org")
    telegram: TelegramConfig = TelegramConfig(bot_token="1:a")

globals().update(Shop().get_all_settings())
"""
URLS = """
from django.contrib import admin
from django.urls import path

urlpatterns = [path("admin/", admin.site.urls)]
"""
USE = """
import django
from django.core import mail
from django.core.management import call_command
django.setup()
call_command("check", fail_level="WARNING")
call_command("migrate", verbosity=0)
mail.send_mail("subject", "text", None, ["you@example.org"])
print(mail.outbox[0].from_email)
from django.db import connection
print(connection.cursor().execute("PRAGMA journal_mode").fetchone()[0])
"""


def test_django_runs_on_the_settings_without_a_warning(tmp_path: Path) -> None:
    (tmp_path / "shop_settings.py").write_text(SETTINGS)
    (tmp_path / "urls.py").write_text(URLS)
    (tmp_path / "manage.py").touch()
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "shop_settings", "PYTHONPATH": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", USE], env=env, cwd=tmp_path, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["shop@example.org", "wal"]
    assert (tmp_path / "db.sqlite3").exists()
